"""pass@k: the chance that at least one of k responses is correct."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> np.ndarray:
    """Unbiased estimate from n samples of which c are correct, element by element, correctly rounded.

    pass@k = 1 - C(n - c, k) / C(n, k)        (Chen et al. 2021, arXiv 2107.03374, eq. 1)
    """
    n, c = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64))
    if k < 1 or (n < k).any():
        raise ValueError(f"pass@k needs 1 <= k <= n, but k is {k} and the smallest n is {n.min(initial=k)}")
    if (c < 0).any() or (c > n).any():
        raise ValueError("pass@k needs 0 <= c <= n")
    return np.asarray(np.frompyfunc(lambda n, c: exact(int(n), int(c), k), 2, 1)(n, c), dtype=np.float64)


def exact(n: int, c: int, k: int) -> float:
    """The quotient of two exact integers, so that a large n neither overflows nor rounds."""
    every = math.comb(n, k)
    return (every - math.comb(n - c, k)) / every


def mean_pass_at_k(correct: np.ndarray, k: int) -> float:
    """Mean pass@k over problems, from `correct` of shape [problems, samples]."""
    return float(pass_at_k(correct.shape[1], correct.astype(bool).sum(axis=1), k).mean())
