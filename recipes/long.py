"""A run to leave overnight."""

from isotherm import Config


def long() -> Config:
    """1000 rollouts with a cosine schedule and few files: how far a method goes, not how it begins."""
    return Config(steps=1000, schedule="cosine", warmup=20, eval_every=100, eval_samples=32, eval_k=(1, 8, 32),
                  store_every=50, keep=3)  # fmt: skip
