"""Where a series stood at the start and stands now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIRST, LAST = 3, 10  # rows at most; a tenth of short logs


@dataclass(frozen=True)
class Ends:
    """Means over the first and the last few of the values that are there."""

    start: float
    now: float
    mean: float  # over all
    least: float
    most: float
    first: int  # values at the start that were averaged
    last: int
    count: int


def ends(values: np.ndarray) -> Ends | None:
    """Over at most 3 values at the start and 10 at the end, never more than a tenth of them; None without a value."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    tenth = max(1, len(values) // 10)
    first, last = min(FIRST, tenth), min(LAST, tenth)
    return Ends(
        start=float(values[:first].mean()),
        now=float(values[-last:].mean()),
        mean=float(values.mean()),
        least=float(values.min()),
        most=float(values.max()),
        first=first,
        last=last,
        count=len(values),
    )
