"""Shapes and times over which the fall is averaged: cells that shrink to where the weight lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXPONENTS = np.array(
    [[0.4, 1.3], np.log([0.5, 4.0])]
)  # beta of exp(-(t / tau)^beta), log gamma of (1 + t / tau)^-gamma
EACH, TIMES = 14, 16  # exponents of each family, and values of tau for each exponent
FEW = 3  # likely cells in a row; with fewer the most likely value may lie unseen between two


@dataclass(frozen=True)
class Grid:
    """EACH cells of beta and of log gamma, and for each of them TIMES cells of log tau; values are their middles."""

    limits: tuple[float, float]  # of log tau
    exponents: np.ndarray  # [2, 2], ends of beta and of log gamma
    times: np.ndarray  # [2, EACH, 2], ends of log tau

    @classmethod
    def whole(cls, shortest: float, longest: float) -> Grid:
        limits = float(np.log(shortest)), float(np.log(longest))
        return cls(limits, EXPONENTS, np.tile(limits, (2, EACH, 1)))

    @property
    def exponent(self) -> np.ndarray:
        beta, log_gamma = middles(self.exponents, EACH)
        return np.concatenate([beta, np.exp(log_gamma)]).repeat(TIMES)

    @property
    def tau(self) -> np.ndarray:
        return np.exp(middles(self.times, TIMES)).ravel()

    @property
    def power(self) -> np.ndarray:
        return np.arange(2).repeat(EACH * TIMES) == 1

    @property
    def log_size(self) -> np.ndarray:
        """Log of the probability of a cell beforehand, but for a constant."""
        shape = np.log(np.diff(self.exponents) / np.diff(EXPONENTS))
        return (shape[:, :, None] + np.log(np.diff(self.times))).repeat(TIMES, axis=2).ravel()

    def refined(self, log: np.ndarray, unlikely: float) -> Grid:
        """Cells where the log weight is within `unlikely` of the most likely and one more on either side.

        First tau within each exponent; once each has cells enough for that, exponents within each family as well.
        """
        log = log.reshape(2, EACH, TIMES)
        each = np.logaddexp.reduce(log, axis=2)
        times = np.clip(narrowed(self.times, log, unlikely), *self.limits)
        if fewest(log, unlikely) < FEW:
            return Grid(self.limits, self.exponents, times)
        exponents = np.clip(narrowed(self.exponents, each, unlikely), EXPONENTS[:, :1], EXPONENTS[:, 1:])
        old, new = middles(self.exponents, EACH), middles(exponents, EACH)
        both = zip(old, new, times, strict=True)
        return Grid(self.limits, exponents, np.stack([bracketed(o, n, ends) for o, n, ends in both]))

    def fine(self, log: np.ndarray, unlikely: float, enough: int) -> bool:
        """Whether every exponent, and every family, has enough cells within `unlikely` of the most likely."""
        log = log.reshape(2, EACH, TIMES)
        return min(fewest(log, unlikely), fewest(np.logaddexp.reduce(log, axis=2), unlikely)) >= enough


def fewest(log: np.ndarray, unlikely: float) -> int:
    """The least number of cells of the last axis within `unlikely` of the most likely of them."""
    return int((log >= log.max(-1, keepdims=True) + unlikely).sum(-1).min())


def middles(ends: np.ndarray, n: int) -> np.ndarray:
    low, high = ends[..., :1], ends[..., 1:]
    return low + (high - low) * (np.arange(n) + 0.5) / n


def narrowed(ends: np.ndarray, log: np.ndarray, unlikely: float) -> np.ndarray:
    """Ends of the cells of the last axis that are not unlikely, and a cell more at either end."""
    n = log.shape[-1]
    likely = log >= log.max(-1, keepdims=True) + unlikely
    first, last = likely.argmax(-1), n - likely[..., ::-1].argmax(-1)
    step = np.diff(ends)[..., 0] / n
    return np.stack([ends[..., 0] + (first - 1) * step, ends[..., 0] + (last + 1) * step], axis=-1)


def bracketed(old: np.ndarray, new: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """For every new exponent the ends of log tau that take in those of the old exponents on either side of it."""
    after = np.clip(np.searchsorted(old, new), 1, len(old) - 1)
    return np.stack(
        [np.minimum(ends[after - 1, 0], ends[after, 0]), np.maximum(ends[after - 1, 1], ends[after, 1])], axis=-1
    )
