"""The columns of a run as checked arrays, or a sentence that says why nothing can be fitted to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isotherm.errors import UserError

ROWS = 256  # longer series are averaged over windows of adjacent rows: the cost of a fit grows with the cube
FEWEST = 12  # rows
LARGEST = 1e15  # sums of squares of what is larger lose every digit
WIDEST = 50.0  # nats; the entropy of any vocabulary is far below


@dataclass(frozen=True)
class Estimate:
    """A value with an interval that should hold the truth with probability `level`."""

    value: float
    low: float
    high: float
    level: float


def columns(**named: ArrayLike) -> list[np.ndarray]:
    """The columns as float64 arrays of one length; a UserError where they are no such thing."""
    arrays = [column(name, values) for name, values in named.items()]
    lengths = {name: len(x) for name, x in zip(named, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise UserError(f"The columns must have a value in every row, but their lengths differ: {told}.")
    for name, x in zip(named, arrays, strict=True):
        check(name, x)
    return arrays


def column(name: str, values: ArrayLike) -> np.ndarray:
    try:
        x = np.asarray(values)
        numbers = x.dtype.kind in "iuf" or x.size == 0
    except ValueError:
        numbers, x = False, np.empty(0)
    if not numbers or x.ndim != 1:
        raise UserError(f"The {name} must be one column of real numbers, a value per row.")
    return x.astype(np.float64, copy=False)


def check(name: str, x: np.ndarray) -> None:
    if bad := int((~np.isfinite(x)).sum()):
        first = int(np.flatnonzero(~np.isfinite(x))[0])
        raise UserError(f"The {name} is not finite in {bad} of {len(x)} rows, first in row {first}; leave them out.")
    if len(x) and np.abs(x).max() > LARGEST:
        raise UserError(f"The {name} reaches {np.abs(x).max():.3g}, which is no number of a run.")
    if name == "entropy" and len(x) and (x.min() < 0 or x.max() > WIDEST):
        told = f"it runs from {x.min():.3g} to {x.max():.3g}"
        raise UserError(f"The entropy must lie between 0 and {WIDEST:g} nats per token, but {told}.")
    if name == "step" and (np.diff(x) <= 0).any():
        raise UserError(
            f"The steps must increase from row to row, but row {int((np.diff(x) <= 0).argmax()) + 1} does not."
        )


def enough(n: int, fewest: int, what: str) -> None:
    if n < fewest:
        raise UserError(f"{what} needs at least {fewest} rows, but there are {n}.")


def windows(*arrays: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Means over windows of k adjacent rows, at most ROWS of them, and k; the first rows that fill no window go."""
    n = len(arrays[0])
    k = -(-n // ROWS)
    kept = n // k * k
    return [x[n - kept :].reshape(-1, k).mean(1) for x in arrays], k
