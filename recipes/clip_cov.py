"""Clip-Cov (arXiv 2505.22617)."""

from isotherm import Config


def clip_cov() -> Config:
    """Leaves a few random tokens of high covariance out of the loss; the published setting."""
    return Config(method="clip_cov(ratio=0.0002, low=1.0, high=5.0)")


def clip_cov_small() -> Config:
    """The same with more tokens, for batches of a few thousand tokens, where the published share is a single one."""
    return Config(method="clip_cov(ratio=0.002, low=1.0, high=5.0)")
