"""Single numbers from a metric's curve over the steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isotherm.errors import UserError


def steps_to(
    steps: np.ndarray, values: np.ndarray, threshold: float, *, falling: bool = False, window: int = 1
) -> float:
    """The first step at which the mean of the last `window` values reaches the threshold; NaN where none does.

    Reached is >= threshold, and <= for a `falling` curve. Steps without a value are passed over; no interpolation.
    """
    check(window)
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    if len(values) < window:
        return np.nan
    recent = np.lib.stride_tricks.sliding_window_view(values, window).mean(1)
    reached = np.flatnonzero(recent <= threshold if falling else recent >= threshold)
    return float(steps[window - 1 :][reached[0]]) if len(reached) else np.nan


def check(window: int) -> None:
    if window < 1:
        raise UserError(f"window must be at least 1, but is {window}.")


def ends(values: np.ndarray, window: int = 1) -> tuple[float, float]:
    """The first finite value, and the mean of the last `window` finite values; NaN where there are none."""
    check(window)
    values = values[np.isfinite(values)]
    return (float(values[0]), float(values[-window:].mean())) if len(values) else (np.nan, np.nan)


def area(steps: np.ndarray, values: np.ndarray) -> float:
    """Area under the curve by trapezoids between the values that are there, in units of the metric times steps."""
    known = np.isfinite(values)
    return float(np.trapezoid(values[known], steps[known])) if known.any() else np.nan


def tracking(entropy: ArrayLike, line: ArrayLike, window: int = 10) -> np.ndarray:
    """|mean of H - line over each window| / mean of line over it."""
    kernel = np.ones(window) / window
    h, aim = (np.convolve(np.asarray(x, float), kernel, "valid") for x in (entropy, line))
    return np.abs(h - aim) / aim
