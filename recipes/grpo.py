"""The plain baseline."""

from isotherm import Config


def grpo() -> Config:
    """GRPO on the built-in model: where every comparison starts, and what loses its entropy fastest."""
    return Config(method="grpo")
