"""Which groups and responses teach anything, and what a response that is too long costs."""

from __future__ import annotations

import numpy as np

from isotherm.records import Rollout, Verdict


def reward(rollout: Rollout) -> np.ndarray:
    """1 for a correct answer, else 0."""
    return np.array([float(v is Verdict.CORRECT) for v in rollout.verdicts])


def soft_overlong(length: np.ndarray, max_new: int, buffer: int) -> np.ndarray:
    """0 up to max_new - buffer, then linear to -1 at max_new (DAPO, arXiv 2503.14476, eq. 13)."""
    return -np.clip((length - (max_new - buffer)) / buffer, 0.0, 1.0)


def has_signal(rollout: Rollout) -> np.ndarray:
    """[R] true where the rewards of the response's group differ."""
    number = np.unique(rollout.group, return_inverse=True)[1]
    count = number.max() + 1 if len(number) else 0
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    with np.errstate(invalid="ignore"):  # a NaN is named by `update/finite.py`
        np.minimum.at(low, number, rollout.reward)
        np.maximum.at(high, number, rollout.reward)
    return ~(low == high)[number]


def trained(rollout: Rollout, signal: str, overlong: str) -> np.ndarray:
    """[R] true where a response is trained on, by the settings `signal` and `overlong`."""
    keep = np.ones(len(rollout.length), bool) if signal == "keep" else has_signal(rollout)
    return keep & rollout.finished if overlong == "mask" else keep
