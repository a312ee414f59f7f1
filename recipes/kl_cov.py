"""KL-Cov (arXiv 2505.22617)."""

from isotherm import Config


def kl_cov() -> Config:
    """Holds the few tokens of largest covariance near the old policy; needs several updates per rollout to act."""
    return Config(method="kl_cov(k=0.002, beta=1.0)", updates=4)


def kl_cov_32b() -> Config:
    """The setting published for 32B models: a tenth as many tokens. On small batches that is a single token."""
    return Config(method="kl_cov(k=0.0002, beta=1.0)", updates=4)
