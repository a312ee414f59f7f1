"""Coefficients of the law against model size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from isotherm.errors import UserError
from isotherm.measure.laws.series import Estimate, columns, enough

FEWEST = 3  # sizes: two determine a line and leave nothing to judge it by


@dataclass(frozen=True)
class BySize:
    """coefficient = intercept + slope ln N, by least squares over models, with 95 % t intervals."""

    intercept: Estimate
    slope: Estimate  # per factor e in the number of non-embedding parameters
    covariance: np.ndarray  # [2, 2], of intercept and slope
    rmse: float  # of the residuals, 2 parameters taken off
    r2: float
    n: int

    def at(self, size: ArrayLike) -> np.ndarray:
        """The coefficient of a model of so many non-embedding parameters."""
        return self.intercept.value + self.slope.value * np.log(np.asarray(size, dtype=np.float64))


def by_size(sizes: ArrayLike, coefficients: ArrayLike) -> BySize:
    """a or b of several models, log-linear in the number of non-embedding parameters (arXiv 2505.22617, sec. 2)."""
    n, y = columns(sizes=sizes, coefficients=coefficients)
    if (n <= 0).any():
        raise UserError(f"The number of parameters of a model must be above 0, but one is {n.min():g}.")
    enough(len(np.unique(n)), FEWEST, "A line against model size, one row for each size,")
    design = np.column_stack([np.ones_like(n), np.log(n)])
    inverse = np.linalg.inv(design.T @ design)
    line = inverse @ design.T @ y
    squares, total = float(((y - design @ line) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    covariance = inverse * squares / (len(n) - 2)
    reach = float(stdtrit(len(n) - 2, 0.975)) * np.sqrt(np.diag(covariance))
    ends = [Estimate(float(v), float(v - e), float(v + e), 0.95) for v, e in zip(line, reach, strict=True)]
    r2 = 1 - squares / total if total else 0.0
    return BySize(ends[0], ends[1], covariance, (squares / (len(n) - 2)) ** 0.5, r2, len(n))
