"""The three families that the built-in model is meant to be trained on."""

from isotherm import Config


def three_families() -> Config:
    """Slower than the default: chain and subset need more rollouts, and entropy falls less."""
    return Config(train="countdown:2,chain:3,subset:2", prompts=48, steps=300)
