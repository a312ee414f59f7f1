"""What speaks against taking the law's numbers at their word, as sentences; each names its evidence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isotherm.measure.alarms import LOOKED_AT, alarms
from isotherm.measure.laws.exhaustion import Exhaustion
from isotherm.measure.laws.fit import Law
from isotherm.measure.logs.record import Log
from isotherm.measure.prognosis.chosen import EXACT, Chosen
from isotherm.measure.prognosis.ends import ends
from isotherm.measure.warning import FITS, collapse_risk
from isotherm.measure.watched import NOW, START

CORRELATED = 0.8  # of residuals from row to row: the curve is then not that of the law, or the rows are smoothed
NARROW = 0.01  # of the steps until then; the grid of the fit is about as coarse
LEAST = START + NOW  # rows with an entropy that a warning needs
LATE = 0.6  # of the run: what has happened by then needs no early warning
PLAIN = ("grpo", "dr_grpo", "rloo", "reinforce", "reinforce_pp", "ppo", "gae", "vanilla", "dapo", "bnpo")


def cautions(log: Log, t: np.ndarray, h: Chosen, fall: Exhaustion | None, law: Law | None) -> tuple[str, ...]:
    """Every caution that the log gives cause for."""
    return (
        *of_meaning(h),
        *of_method(log),
        *of_schedule(log),
        *of_fall(fall, law, t),
        *of_law(law),
    )


def warnings(log: Log, t: np.ndarray, h: Chosen, steps: float | None) -> tuple[str, ...]:
    """Alarms; and, while a run goes on to `steps`, the risk of a collapse (docs/warning.md says what that is worth)."""
    if len(t) < LEAST:
        return ()
    rows = slice(None) if len(t) == len(log.step) else np.searchsorted(log.step, t)
    seen = {name: log.series[name][rows] for name in LOOKED_AT if name in log.series}
    seen |= {"step": t, "entropy/exact": h.values}
    found = alarms(seen)
    if steps and FITS[0].share * steps <= t[-1] < LATE * steps:
        found.append(f"{collapse_risk(seen, int(steps)).sentence} That was measured on one small model.")
    return tuple(found)


def of_meaning(h: Chosen) -> Iterator[str]:
    if h.name not in EXACT:
        yield (
            f"The entropy here is {h.name}: a, b and the floor hold for it alone, and are not to be compared with "
            "those of an exact entropy at the sampling temperature."
        )


def of_method(log: Log) -> Iterator[str]:
    """Interventions on entropy in the settings: the law is one of runs without."""
    settings = log.settings
    found = [
        f"{name} {settings[name]}"
        for name in ("entropy_coef", "adaptive_entropy", "hold_entropy")
        if settings.get(name)
    ]
    quantile = settings.get("top_entropy")
    if isinstance(quantile, (int, float)) and not isinstance(quantile, bool) and quantile < 1:
        found.append(f"top_entropy {quantile:g}")
    found += [
        f"{name} {settings[name]}" for name in ("method", "loss") if str(settings.get(name) or "grpo") not in PLAIN
    ]
    if found:
        yield (
            f"The log's settings have {', '.join(found)}. The law is one of runs without an intervention on entropy; "
            "with one, look at the check on the log's own rows first."
        )


def of_schedule(log: Log) -> Iterator[str]:
    """A falling learning rate slows the fall by itself."""
    rate = ends(log.series.get("update/lr", np.empty(0)))
    if rate and rate.start > 0 and rate.now < 0.9 * rate.start:
        yield (
            f"The learning rate fell from {rate.start:.3g} to {rate.now:.3g}, which slows the fall of entropy by "
            "itself: part of the floor may be the schedule's."
        )


def of_fall(fall: Exhaustion | None, law: Law | None, t: np.ndarray) -> Iterator[str]:
    if fall is None and law is not None:
        yield "Entropy is not seen to fall, and a forecast supposes the shape of a fall: do not rely on one."
    if fall and fall.step.high - fall.step.low < NARROW * (fall.step.value - float(t[0])):
        yield (
            "The interval for the step at which entropy is used up is narrower than 1 %: it holds only as far as the "
            "fall keeps to the fitted shapes."
        )


def of_law(law: Law | None) -> Iterator[str]:
    if law is None:
        return
    error = 2 * law.standard_errors[0]
    if law.a - error <= 0:
        yield (
            f"a is {law.a:.3g} plus or minus {error:.3g} (two standard errors), which does not leave out 0: this log "
            "gives no clear evidence that entropy is traded for reward."
        )
    if law.autocorrelation > CORRELATED:
        yield (
            f"The law's residuals are correlated at {law.autocorrelation:.2f} from row to row, so R follows another "
            "curve of H, or the rows are smoothed; intervals are then too narrow."
        )
