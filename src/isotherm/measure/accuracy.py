"""Accuracy over problems: the interval of a mean, avg@k and the majority vote."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Mean:
    """A mean over problems, the estimated variance of that mean with its degrees of freedom, and the problems."""

    value: float
    variance: float
    freedom: float
    count: int


def mean_over(values: np.ndarray) -> Mean:
    """The mean of one unbiased estimate per problem.

    s^2 / m is an unbiased estimate of its variance for problems drawn independently: that between the problems, and
    that of each problem's own estimate from few samples, which s^2 contains.
    """
    m = len(values)
    equal = m > 1 and np.ptp(values) == 0  # where rounding must not leave a variance
    variance = 0.0 if equal else float(values.var(ddof=1)) / m if m > 1 else math.nan
    return Mean(float(values.mean()), variance, m - 1, m)


def mean_of(means: Sequence[Mean]) -> Mean:
    """The mean over families, each of the same weight; degrees of freedom by Welch and Satterthwaite."""
    variances = np.array([mean.variance for mean in means])
    total, parts = variances.sum(), (variances**2 / np.maximum([mean.freedom for mean in means], 1)).sum()
    freedom = total**2 / parts if parts > 0 else sum(mean.freedom for mean in means)
    value = float(np.mean([mean.value for mean in means]))
    return Mean(value, float(total) / len(means) ** 2, float(freedom), sum(mean.count for mean in means))


def interval(mean: Mean, level: float = 0.95) -> tuple[float, float]:
    """The interval of a mean of shares; NaN where a mean is over a single problem.

    (p + t^2/2n -+ t sqrt(p (1 - p) / n + t^2/4n^2)) / (1 + t^2/n)       (Wilson 1927)

    n = p (1 - p) / variance is the number of coin tosses that would vary as much (Korn and Graubard 1998), or the
    number of problems where all estimates are equal; t is the quantile of Student's distribution.
    """
    p, spread = mean.value, mean.value * (1 - mean.value)
    if math.isnan(mean.variance):
        return math.nan, math.nan
    n = spread / mean.variance if mean.variance > 0 else mean.count
    t = student(0.5 + level / 2, mean.freedom)
    centre, half = p + t * t / (2 * n), t * math.sqrt(spread / n + t * t / (4 * n * n))
    low, high = (centre - half) / (1 + t * t / n), (centre + half) / (1 + t * t / n)
    return max(0.0, min(low, p)), min(1.0, max(high, p))


def student(share: float, freedom: float) -> float:
    """The quantile of Student's distribution, to 1 % from 3 degrees of freedom (Abramowitz and Stegun, 26.7.5)."""
    z, v = NormalDist().inv_cdf(share), freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / v + second / v**2 + third / v**3 + fourth / v**4


def avg_at_k(correct: Sequence[np.ndarray], k: int) -> float:
    """Share of correct responses among the first k to each problem; `correct` has an array of [samples] for each.

    An estimate of pass@1: with k = n it is the unbiased pass@1 of all n samples.
    """
    if not 1 <= k <= (n := min(map(len, correct), default=0)):
        raise ValueError(f"avg@k needs 1 <= k <= n, but k is {k} and the smallest n is {n}")
    return float(np.mean([right[:k] for right in correct]))


def majority(forms: Sequence[str | None], correct: Sequence[bool]) -> float:
    """Chance that the most frequent answer to a problem is correct, a tie settled by a fair draw among its answers.

    A response without an answer (None) has no vote, and where nobody votes the chance is 0.
    """
    votes = Counter(form for form in forms if form is not None)
    most = max(votes.values(), default=0)
    right = Counter(form for form, good in zip(forms, correct, strict=True) if good)
    chances = [right[form] / most for form, count in votes.items() if count == most]
    return sum(chances) / len(chances) if chances else 0.0
