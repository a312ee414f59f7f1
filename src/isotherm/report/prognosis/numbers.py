"""Estimates and ends as they stand in a sentence."""

from __future__ import annotations

import numpy as np

from isotherm.measure.laws.series import Estimate
from isotherm.measure.logs.record import Source
from isotherm.measure.prognosis.chosen import Chosen
from isotherm.measure.prognosis.ends import Ends
from isotherm.report.text import number


def near(x: float) -> str:
    """Two or three digits, as a reader needs them; never -0, never a row of digits."""
    if abs(x) >= 1e9:
        return f"{x:.3g}"
    return number(0.0 if abs(x) < 1e-12 else x)


def step(x: float) -> str:
    return f"{round(x):,}" if abs(x) < 1e15 else f"{x:.1e}"


def share(x: float) -> str:
    return f"{100 * x:.0f} %" if x >= 0.095 or x == 0 else f"{100 * x:.2g} %"


def estimate(e: Estimate, show=near) -> str:
    """The value with its interval and the interval's level."""
    return f"{show(e.value)} [{show(e.low)}, {show(e.high)}]"


def signed(e: Estimate) -> str:
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"


def tenths(x: float) -> str:
    return f"{100 * x:.1f} %"


def over(ends: Ends) -> str:
    """What `now` is a mean over."""
    of = f"of {ends.count:,} logged values"
    return f"mean of the last {ends.last} {of}" if ends.last > 1 else f"the last {of}"


def went(name: str, ends: Ends, steps: np.ndarray) -> str:
    """The fall in one sentence."""
    kept = f"; {share(ends.now / ends.start)} of it is left" if 0 < ends.now <= ends.start else ""
    span = f"over steps {step(steps[0])} to {step(steps[-1])}"
    return f"Entropy ({name}) went from {near(ends.start)} to {near(ends.now)} nats per token {span}{kept}."


def origin(series: Chosen) -> str:
    """What a series is, and what it is called in the log."""
    called = f', "{series.key}" in the log' if series.key != series.name else ""
    note = f" Here: {series.note}." if series.note else ""
    rest = f" Also there, and not mixed in: {', '.join(series.others[:6])}." if series.others else ""
    return f"{series.name}{called}: {series.definition}{note}{rest}"


def source(s: Source) -> str:
    return f"{s.file}, read as {s.format}{f' of {s.tool}' if s.tool else ''}"


class Setting(str):
    """A line to paste: it is not wrapped, and stands apart."""


Sections = list[tuple[str, list[str]]]  # titles, and the sentences and settings under each
