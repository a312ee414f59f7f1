"""The end of a run from its first part: given the later H, as the paper does, and with H forecast too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls
from scipy.special import ndtri

from isotherm.errors import UserError
from isotherm.measure.laws.decay import falls
from isotherm.measure.laws.exhaustion import LEVEL, quantiles, refuse_constant
from isotherm.measure.laws.fit import Law, fitted
from isotherm.measure.laws.series import FEWEST, Estimate, columns, enough, windows

LONGEST = 3.0  # time constants of the fall up to so many times the whole run


@dataclass(frozen=True)
class Forecast:
    """The mean reward over the last `over` rows up to `until`, as it will be observed, from the rows before `cut`."""

    given_entropy: Estimate | None  # None where the rows after `cut` do not reach `until`
    end_to_end: Estimate
    persistence: Estimate
    entropy: Estimate  # H at the end, as it will be observed
    observed: float | None  # the reward at the end, where the rows reach it
    rest_rmse: float | None  # of the law given H, over all rows after `cut`
    law: Law
    cut: float  # the last step that was used
    until: float
    over: int


def forecast(
    step: ArrayLike,
    entropy: ArrayLike,
    reward: ArrayLike,
    until: float | None = None,
    share: float = 1.0,
    over: int = 1,
    seed: int = 0,
) -> Forecast:
    """The end from the first `share` of the steps up to `until` (the last row's step if None)."""
    t, h, r = columns(step=step, entropy=entropy, reward=reward)
    enough(len(t), FEWEST, "A forecast")
    until = float(t[-1]) if until is None else float(until)
    seen = int(np.searchsorted(t, cut_at(t, until, share), side="right"))
    enough(seen, FEWEST, f"The first {share:.0%} of the steps, for a forecast,")
    last = int(np.searchsorted(t, until, side="right"))
    (ts, hs, rs), k = windows(t[:seen], h[:seen], r[:seen])
    over = rows_over(over, k, seen)
    law = fitted(hs, rs, k)
    rows = slice(max(seen, last - over), last)
    known = t[-1] >= until and last - seen >= over
    draws = end_draws(ts, hs, law, until, over // k, seed)
    return Forecast(
        given_entropy=given(law, h[rows], over // k) if known else None,
        end_to_end=quantiles(draws[1]),
        persistence=persistence(ts, rs, until, over // k),
        entropy=quantiles(draws[0]),
        observed=float(r[rows].mean()) if known else None,
        rest_rmse=float(np.sqrt(((law.at(h[seen:last]) - r[seen:last]) ** 2).mean())) if known else None,
        law=law,
        cut=float(t[seen - 1]),
        until=until,
        over=over,
    )


@dataclass(frozen=True)
class Course:
    """H(t) without noise at some steps, as the rows say that it falls: median and 90 % interval."""

    step: np.ndarray
    low: np.ndarray
    value: np.ndarray
    high: np.ndarray


def course(step: ArrayLike, entropy: ArrayLike, until: float, points: int = 80, seed: int = 0) -> Course:
    """H(t) = f + (h0 - f) g(t) from the first step to `until`, by the draws that `forecast` makes of it."""
    t, h = columns(step=step, entropy=entropy)
    enough(len(t), FEWEST, "A course of the entropy")
    cut_at(t, until, 1.0)
    (ts, hs), _ = windows(t, h)
    refuse_constant(hs)
    drawn = falls(ts - ts[0], hs, LONGEST * (until - ts[0]), seed)
    at = np.linspace(ts[0], until, points)
    each = np.stack([np.maximum(drawn.entropy(x - ts[0]), 0) for x in at])
    low, value, high = np.quantile(each, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=1)
    return Course(at, low, value, high)


def cut_at(t: np.ndarray, until: float, share: float) -> float:
    if not 0 < share <= 1:
        raise UserError(f"The share of the steps to forecast from must lie in (0, 1], but it is {share}.")
    if not (np.isfinite(until) and until > t[0]):
        raise UserError(f"The end of the forecast must be a step after the first one, {t[0]:g}, but it is {until:g}.")
    return t[0] + share * (until - t[0])


def rows_over(over: int, window: int, seen: int) -> int:
    """`over` rounded up to whole windows, for the noise of a mean is known by windows."""
    if over < 1:
        raise UserError(f"The end must be the mean over at least one row, but over is {over}.")
    over = window * -(-over // window)
    if over > seen / 2:
        raise UserError(f"The end is a mean over {over} rows, more than half of the rows seen ({seen}); take fewer.")
    return over


def given(law: Law, h: np.ndarray, rows: int) -> Estimate:
    """b - a e^H at the observed H, with Var = x'Vx + Var(noise), x = (-e^H, 1)."""
    x = np.array([-np.exp(h).mean(), 1.0])
    error = -ndtri((1 - LEVEL) / 2) * (x @ law.covariance @ x + law.noise.of_mean(rows)) ** 0.5
    value = float(x @ (law.a, law.b))
    return Estimate(value, value - float(error), value + float(error), LEVEL)


def end_draws(
    t: np.ndarray, h: np.ndarray, law: Law, until: float, rows: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of H and of R at the end: the fall, its wandering, (a, b) and the noise, each from what is known of it."""
    drawn = falls(t - t[0], h, LONGEST * (until - t[0]), seed)
    rng = np.random.default_rng([seed, 1])
    n = len(drawn.start)
    real = np.maximum(drawn.entropy(until - t[0]) + np.sqrt(drawn.wander) * rng.standard_normal(n), 0)
    a, b = rng.multivariate_normal([law.a, law.b], law.covariance, n).T
    noise = law.noise.of_mean(rows) ** 0.5 * rng.standard_normal(n)
    seen = np.maximum(real + np.sqrt(drawn.white / rows) * rng.standard_normal(n), 0)
    return seen, b - a * np.exp(real) + noise


def persistence(t: np.ndarray, r: np.ndarray, until: float, rows: int) -> Estimate:
    """The last value, with the variance of its past changes: E (R(t + s) - R(t))^2 = c + q s, fitted over s."""
    smooth = np.convolve(r, np.ones(rows) / rows, mode="valid") if rows < len(r) // 2 else r
    when = t[len(t) - len(smooth) :]
    lags = np.arange(1, max(2, len(smooth) // 2))
    squares = np.array([((smooth[k:] - smooth[:-k]) ** 2).mean() for k in lags])
    apart = np.array([(when[k:] - when[:-k]).mean() for k in lags])
    (c, q), _ = nnls(np.column_stack([np.ones_like(apart), apart]), squares)
    error = -ndtri((1 - LEVEL) / 2) * (c + q * max(until - t[-1], 0.0)) ** 0.5
    return Estimate(float(smooth[-1]), float(smooth[-1] - error), float(smooth[-1] + error), LEVEL)
