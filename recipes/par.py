"""Positive-Advantage Reweighting (arXiv 2511.05993)."""

from isotherm import Config


def par() -> Config:
    """Moves the weight of positive advantages after each step so that entropy stays near 0.3 nats.

    For holding entropy on a level that you name: the built-in model starts a little above it.
    """
    return Config(method="par(schedule=guided, target=0.3, delta=0.05)")


def par_stage() -> Config:
    """Only negative advantages for the first half of the run, then positive ones come back linearly."""
    return Config(method="par(schedule=stage)")
