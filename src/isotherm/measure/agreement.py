"""How well a prediction agrees with what was measured, with intervals from drawing whole steps again."""

from __future__ import annotations

import numpy as np

STATISTICS = ("scale", "pearson", "spearman", "slope", "error", "relative_error", "held_out")
Interval = tuple[float, float, float]  # value, and the ends of its 95 % interval


def agreement(
    predicted: np.ndarray,
    measured: np.ndarray,
    step: np.ndarray,
    *,
    scale: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Of y = measured and x = predicted, over all pairs of finite values:

    scale b = <x, y> / <x, x>, unless given; slope of y on b x with an intercept, 1 where the scale is right;
    error = rms(y - b x) in the unit of y; relative_error = error / rms(y), 1 for the prediction of no change;
    held_out: relative_error on the later half of the steps, with b from the earlier half.
    Intervals are quantiles of a bootstrap over steps; ranks of Spearman's correlation stay those of all pairs.
    """
    keep = np.isfinite(predicted) & np.isfinite(measured)
    x, y = (np.asarray(v, np.float64)[keep] for v in (predicted, measured))
    names, place = np.unique(np.asarray(step)[keep], return_inverse=True)
    plain, ranked = sums(x, y, place, len(names)), sums(ranks(x), ranks(y), place, len(names))
    weights = np.concatenate([np.ones((1, len(names))), drawn_again(len(names), draws, seed)])
    with np.errstate(all="ignore"):
        found = statistics(weights, plain, ranked, scale)
        ends = {
            name: np.nanquantile(v[1:], (0.025, 0.975)) if several(v) else (np.nan,) * 2 for name, v in found.items()
        }
    return {name: (float(v[0]), float(ends[name][0]), float(ends[name][1])) for name, v in found.items()}


def drawn_again(steps: int, draws: int, seed: int) -> np.ndarray:
    """[draws, steps]: how often each step is drawn, in as many draws as there are steps."""
    if not steps:
        return np.empty((draws, 0))
    return np.random.default_rng(seed).multinomial(steps, np.full(steps, 1 / steps), draws)


def several(values: np.ndarray) -> bool:
    """Whether there is anything to take a quantile of."""
    return bool(np.isfinite(values[1:]).any())


def sums(x: np.ndarray, y: np.ndarray, place: np.ndarray, steps: int) -> np.ndarray:
    """[steps, 6]: the sums of 1, x, y, x^2, y^2, x y within each step."""
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(place, column, minlength=steps) for column in columns], 1)


def statistics(
    weights: np.ndarray, plain: np.ndarray, ranked: np.ndarray, scale: float | None
) -> dict[str, np.ndarray]:
    """Each statistic for each row of weights [draws, steps]."""
    n, x, y, xx, yy, xy = (weights @ plain).T
    b = xy / xx if scale is None else np.full(len(weights), scale)
    error = np.sqrt(np.maximum(yy - 2 * b * xy + b * b * xx, 0) / n)
    half = plain.shape[0] // 2
    early, late = weights[:, :half] @ plain[:half], weights[:, half:] @ plain[half:]
    first = early[:, 5] / early[:, 3] if scale is None else b
    rest = np.sqrt(np.maximum(late[:, 4] - 2 * first * late[:, 5] + first**2 * late[:, 3], 0) / late[:, 4])
    slope = (n * xy - x * y) / (n * xx - x * x) / b
    values = (b, pearson(weights @ plain), pearson(weights @ ranked), slope, error, error / np.sqrt(yy / n), rest)
    return dict(zip(STATISTICS, values, strict=True))


def pearson(total: np.ndarray) -> np.ndarray:
    """Correlation from the sums of 1, x, y, x^2, y^2, x y."""
    n, x, y, xx, yy, xy = total.T
    return (n * xy - x * y) / np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))


def ranks(values: np.ndarray) -> np.ndarray:
    """0 for the smallest; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[place.reshape(-1)]
