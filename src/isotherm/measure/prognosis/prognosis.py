"""From a log to where its run stands on R = -a e^H + b, what is left, and where it ends; refusals are sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TypeVar

import numpy as np

from isotherm.errors import UserError
from isotherm.measure.laws.exhaustion import Exhaustion, exhaustion
from isotherm.measure.laws.fit import Law, fit
from isotherm.measure.laws.forecast import Course, Forecast, course, forecast
from isotherm.measure.laws.rivals import Rival, rivals
from isotherm.measure.logs.record import Log, Source
from isotherm.measure.prognosis.cautions import cautions, warnings
from isotherm.measure.prognosis.chosen import Chosen, entropy_of, lacks_entropy, reward_of
from isotherm.measure.prognosis.ends import Ends, ends

SMOOTHED = 10  # rows that the end is a mean over
T = TypeVar("T")


@dataclass(frozen=True)
class Until:
    """The step to forecast to, and why; `step` is None where the run has reached its end."""

    step: float | None
    why: str


@dataclass(frozen=True)
class Prognosis:
    """What a log says about its run. What could not be said is None, and `refusals[part]` is the sentence why."""

    source: Source
    step: np.ndarray  # of the rows that have an entropy
    entropy: Chosen  # its values at these steps
    reward: Chosen | None  # its values at these steps, NaN where there is none
    entropy_ends: Ends
    reward_ends: Ends | None
    until: Until
    exhaustion: Exhaustion | None
    law: Law | None
    rivals: list[Rival] | None
    forecast: Forecast | None
    course: Course | None
    hindcast: Forecast | None  # the log's own end from its first `share`
    share: float
    refusals: dict[str, str]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]  # of the reader


def prognosis(
    log: Log,
    until: float | None = None,
    share: float = 0.3,
    entropy: str = "",
    reward: str = "",
    seed: int = 0,
) -> Prognosis:
    """All that measure/laws says of a log. A UserError where there is no entropy, or an argument makes no sense."""
    if not (isinstance(share, Real) and 0 < share < 1):
        raise UserError(f"The share of the log to check a forecast with must lie between 0 and 1, but it is {share!r}.")
    h, r = entropy_of(log, entropy), reward_of(log, reward)
    if h is None:
        raise UserError(lacks_entropy(log))
    rows = np.isfinite(h.values)
    t, h = log.step[rows].astype(np.float64), at(h, rows)
    r = at(r, rows) if r is not None else None
    end = end_of(log, t, until)
    said: dict[str, str] = {}
    both = np.isfinite(r.values) if r is not None else np.zeros(len(t), bool)
    if r is None:
        said["law"] = "The log holds no reward, so the law between entropy and reward is not fitted to it."
    triple = (t[both], h.values[both], r.values[both]) if r is not None else None
    found_fall = attempt(said, "exhaustion", exhaustion, t, h.values, seed)
    found_law = attempt(said, "law", fit, *triple[1:]) if triple else None
    found_rivals = attempt(said, "rivals", rivals, *triple[1:]) if triple and found_law else None
    found_warnings = attempt(said, "warning", warnings, log, t, h, end.step)
    return Prognosis(
        source=log.source,
        step=t,
        entropy=h,
        reward=r,
        entropy_ends=known(ends(h.values)),
        reward_ends=ends(r.values) if r is not None else None,
        until=end,
        exhaustion=found_fall,
        law=found_law,
        rivals=found_rivals,
        forecast=ahead(said, triple, end, seed) if triple and found_law else None,
        course=attempt({}, "course", course, t, h.values, end.step or t[-1], 80, seed),
        hindcast=back(said, triple, share, seed) if triple and found_law else None,
        share=share,
        refusals=said,
        cautions=(*(found_warnings or ()), *cautions(log, t, h, found_fall, found_law)),
        notes=log.notes,
    )


def at(series: Chosen, rows: np.ndarray) -> Chosen:
    return Chosen(**{**vars(series), "values": series.values[rows]})


def known(found: Ends | None) -> Ends:
    assert found is not None
    return found


def end_of(log: Log, t: np.ndarray, until: float | None) -> Until:
    """What the user asks for, else the planned length of the settings, else twice what is there."""
    last, planned = float(t[-1]), log.settings.get("steps")
    if until is not None:
        if not (isinstance(until, Real) and last < until < 2**53):
            raise UserError(
                f"--until must be a step after the last of the log, {last:g}, but it is {until!r}; "
                "--share checks a forecast against the log itself."
            )
        return Until(float(until), "as asked")
    if isinstance(planned, (int, float)) and not isinstance(planned, bool) and 0 < planned < 2**53:
        if planned > last:
            return Until(float(planned), "the planned length in the log's settings")
        return Until(None, f"the planned length in the log's settings, {planned:g}, is reached")
    return Until(last + max(last - float(t[0]), 1.0), "twice what is there, for no planned length is known")


def attempt(said: dict[str, str], part: str, call: Callable[..., T], *arguments: object) -> T | None:
    """The call's result; where it refuses, None and its sentence."""
    try:
        return call(*arguments)
    except UserError as error:
        said[part] = str(error)
    except np.linalg.LinAlgError as error:
        said[part] = f"The numbers of the log do not determine it ({error})."
    return None


def ahead(said: dict[str, str], triple: tuple[np.ndarray, ...], end: Until, seed: int) -> Forecast | None:
    """The end from all rows."""
    if end.step is None:
        said["forecast"] = f"The end is not forecast: {end.why}; --until asks for a longer run."
        return None
    over = max(1, min(SMOOTHED, len(triple[0]) // 2))
    return attempt(said, "forecast", forecast, *triple, end.step, 1.0, over, seed)


def back(said: dict[str, str], triple: tuple[np.ndarray, ...], share: float, seed: int) -> Forecast | None:
    """The log's own end from its first `share`."""
    t = triple[0]
    seen = int(np.searchsorted(t, t[0] + share * (t[-1] - t[0]), side="right"))
    over = max(1, min(SMOOTHED, seen // 2))
    return attempt(said, "hindcast", forecast, *triple, None, share, over, seed)
