"""DAPO's clip and its handling of groups and lengths (arXiv 2503.14476)."""

from isotherm import Config


def clip_higher() -> Config:
    """A wider upper clip bound and nothing else: the cheapest thing to try when entropy falls too fast."""
    return Config(method="clip_higher(low=0.2, high=0.28)")


def dapo() -> Config:
    """Clip-Higher with groups without signal sampled again and responses near the limit punished softly.

    For problem sets where many groups are all right or all wrong; sampling takes longer.
    """
    return Config(method="clip_higher(low=0.2, high=0.28)", signal="refill", overlong="soft")
