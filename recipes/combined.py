"""Several methods in one expression."""

from isotherm import Config


def combined() -> Config:
    """A wider clip, and positive advantages steered by entropy: when either alone is not enough."""
    return Config(method="clip_higher + par(schedule=guided, target=0.3)")
