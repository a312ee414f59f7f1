"""How well a score tells two kinds of runs apart: the ROC curve, its area with an interval, and a threshold."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

Z = NormalDist().inv_cdf(0.975)


def area(score: np.ndarray, label: np.ndarray) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), a tie counting half; NaN for one kind."""
    positive, negative = score[label], score[~label]
    if not len(positive) or not len(negative):
        return float("nan")
    return float((np.sign(positive[:, None] - negative[None, :]) + 1).mean() / 2)


def area_interval(theta: float, positives: int, negatives: int) -> tuple[float, float]:
    """95 % interval of the area: the t with (theta - t)^2 <= z^2 V(t); also where theta is 1 it has a width.

    V(t) = t (1 - t) / (m n) (1 + (s - 1) ((1 - t) / (2 - t) + t / (1 + t))), s = (m + n) / 2     (Newcombe 2006)
    """
    t = np.linspace(0, 1, 20_001)
    spread = 1 + ((positives + negatives) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
    inside = t[(theta - t) ** 2 <= Z**2 * t * (1 - t) / (positives * negatives) * spread]
    return float(min(inside.min(initial=theta), theta)), float(max(inside.max(initial=theta), theta))


def difference_interval(
    first: np.ndarray, second: np.ndarray, label: np.ndarray, draws: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of area(first) - area(second) on the same runs, drawn anew within each kind."""
    rng, found = np.random.default_rng(seed), np.empty(draws)
    kinds = [np.flatnonzero(label), np.flatnonzero(~label)]
    for i in range(draws):
        rows = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds])
        found[i] = area(first[rows], label[rows]) - area(second[rows], label[rows])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def curve(score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False-positive and detection rate of `score >= threshold`, from the threshold above every score down."""
    thresholds = np.concatenate([[np.inf], np.unique(score)[::-1]])
    alarm = score[None, :] >= thresholds[:, None]
    return alarm[:, ~label].mean(1), alarm[:, label].mean(1), thresholds


def threshold_at(score: np.ndarray, label: np.ndarray, false_positives: float) -> float:
    """The lowest threshold whose false-positive rate is at most so much: half way down to the next score below."""
    rate, _, thresholds = curve(score, label)
    last = int(np.flatnonzero(rate <= false_positives)[-1])
    if last + 1 == len(thresholds):
        return float(thresholds[last])
    above, below = thresholds[last], thresholds[last + 1]
    return float((above + below) / 2 if np.isfinite(above) else np.nextafter(below, np.inf))
