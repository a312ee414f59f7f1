"""Will this run's entropy collapse? Watched from its first part, with rates measured on the bank of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isotherm.errors import UserError
from isotherm.measure.watched import NOW, START, Watched, watched

END = 0.1  # share of the rows, the last ones, whose mean is the entropy at the end
COLLAPSED = 0.5  # of the entropy at the start
SMALLEST = 1e-9  # nats; an entropy of 0 has no logarithm


def collapsed(entropy: np.ndarray) -> bool:
    """The label of a whole run: mean H of its last tenth < 0.5 x mean H of its first 3 rows. Fixed before any run."""
    return bool(at_the_end(entropy) < COLLAPSED * entropy[:START].mean())


def at_the_end(values: np.ndarray) -> float:
    """Mean of the last tenth of the rows, at least one."""
    return float(values[-max(1, round(END * len(values))) :].mean())


def fall(run: Watched) -> float:
    """Mean of log(H at the start / H) over the rows after the first 3."""
    return float(-relative(run)[START:].mean())


def pace(run: Watched) -> float:
    """Fall of log H from end to end of the rows watched, by a straight line through all of them."""
    h = relative(run)
    return float(-np.polyfit(np.linspace(0, 1, len(h)), h, 1)[0])


def relative(run: Watched) -> np.ndarray:
    return np.log(np.maximum(run.entropy, SMALLEST) / run.start)


FEATURES: dict[str, Callable[[Watched], float]] = {"fall": fall, "pace": pace}


@dataclass(frozen=True)
class Fit:
    """A logistic score of standardised features, its threshold, and false-positive and detection rate on other runs."""

    share: float  # of the run that is watched
    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float  # of the logit
    rates: tuple[float, float]


# By `python bench/warning.py` from the bank of runs: fitted to its even seeds, the rates measured on the odd ones.
FITS = (
    Fit(
        share=0.1,
        features=("fall", "pace"),
        mean=(0.0593, 0.0989),
        scale=(0.13, 0.2243),
        weights=(1.0979, -0.9513),
        bias=-1.267,
        threshold=-1.0208,
        rates=(0.133, 0.481),
    ),
    Fit(
        share=0.2,
        features=("fall", "pace"),
        mean=(0.0962, 0.1739),
        scale=(0.1576, 0.2514),
        weights=(0.3715, 0.6943),
        bias=-1.4609,
        threshold=-0.5216,
        rates=(0.086, 0.385),
    ),
    Fit(
        share=0.3,
        features=("fall", "pace"),
        mean=(0.1194, 0.1998),
        scale=(0.1924, 0.3325),
        weights=(0.7167, 1.9322),
        bias=-2.0164,
        threshold=-0.5067,
        rates=(0.105, 0.731),
    ),
)
UNTOLD = 0.2  # the share that rows are taken for where the length of the run is not told


def logit(fit: Fit, features: np.ndarray) -> np.ndarray:
    """bias + sum_i weight_i (x_i - mean_i) / scale_i, the log odds of a collapse on the bank."""
    return fit.bias + ((features - np.array(fit.mean)) / np.array(fit.scale)) @ np.array(fit.weights)


def rows_at(share: float, rows: int) -> int:
    """How many of a run's rows its first part has; at least the 6 that anything can be said from."""
    return max(START + NOW, round(share * rows))


@dataclass(frozen=True)
class Risk:
    """What the first part of a run says of its end; the rates are those on runs that were not fitted to."""

    score: float  # between 0 and 1: the chance of a collapse among runs like those of the bank
    threshold: float
    alarm: bool
    false_positive_rate: float
    detection_rate: float
    sentence: str


def collapse_risk(metrics: Mapping[str, ArrayLike], steps: int | None = None) -> Risk:
    """Whether the entropy will end below half of that of the start, from the first part of the run.

    `metrics` are arrays by their names (`run.metrics`), or as `entropy`, `reward`, `step`; only the entropy is needed.
    With `steps`, the length of the run, its first 10, 20 or 30 % are looked at, whichever has been reached; without,
    all rows are taken for the first 20 %. The rates are of one small model on two tasks (docs/warning.md).
    """
    run = watched(metrics)
    fit = next(f for f in FITS if f.share == UNTOLD)
    if steps is not None:
        fit, run = reached(run, steps)
    score = float(logit(fit, np.array([FEATURES[name](run) for name in fit.features])))
    alarm, chance, threshold = score >= fit.threshold, probability(score), probability(fit.threshold)
    false, found = fit.rates
    return Risk(chance, threshold, alarm, false, found, told(run, fit, alarm, chance, threshold))


def reached(run: Watched, steps: int) -> tuple[Fit, Watched]:
    """The fit of the longest first part that has been seen, and the run as it was then."""
    step = run.columns.get("step", np.arange(1.0, len(run.entropy) + 1))
    if not np.isfinite(step).all():
        raise UserError("Every row with an entropy must have its step, but some have none.")
    if not 0 < step[-1] <= steps:
        raise UserError(f"The run has come to step {step[-1]:g}, so its steps cannot be {steps}.")
    counts = {f: int((step <= max(f.share * steps, step[START + NOW - 1])).sum()) for f in FITS}
    due = [f for f in FITS if step[-1] >= f.share * steps]
    if not due:
        first = FITS[0].share * steps
        raise UserError(f"The run has come to step {step[-1]:g} of {steps}; the first warning is due after {first:g}.")
    return due[-1], run.first(counts[due[-1]])


def probability(score: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, score))))


def told(run: Watched, fit: Fit, alarm: bool, chance: float, threshold: float) -> str:
    says = "is likely to" if alarm else "is not expected to"
    false, found = (f"{100 * rate:.0f} %" for rate in fit.rates)
    return (
        f"After the first {100 * fit.share:.0f} % the entropy is at {100 * run.now / run.start:.0f} % of its start and "
        f"{says} end below half of it (risk {chance:.2f}, alarm from {threshold:.2f}). On the bank this alarm finds "
        f"{found} of the collapses, and is false in {false} of the other runs."
    )
