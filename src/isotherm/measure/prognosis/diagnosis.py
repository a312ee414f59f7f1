"""From a log to what went along with the fall of its entropy, and what would move it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from isotherm.errors import UserError
from isotherm.measure.laws.exhaustion import Exhaustion, exhaustion
from isotherm.measure.logs.record import Log, Source
from isotherm.measure.prognosis.chosen import Chosen, entropy_of, lacks_entropy
from isotherm.measure.prognosis.drivers import Driver, drivers, parts_of_the_change
from isotherm.measure.prognosis.ends import Ends, ends
from isotherm.measure.prognosis.moves import Move, missing, moves
from isotherm.measure.prognosis.prognosis import at, attempt, known


@dataclass(frozen=True)
class Diagnosis:
    """What drove a run's entropy as far as its log tells, and what would move it."""

    source: Source
    step: np.ndarray  # of the rows that have an entropy
    entropy: Chosen
    entropy_ends: Ends
    fall: Exhaustion | None
    drivers: list[Driver]
    series: dict[str, np.ndarray]  # of the drivers, at these steps
    parts: dict[str, dict[str, float]]  # predicted change by sign and quadrant, runs of our own only
    moves: list[Move]
    missing: list[str]  # methods that the log's tool has no setting for
    refusals: dict[str, str]
    notes: tuple[str, ...]
    measured: dict[str, dict[str, float]] = field(default_factory=dict)  # as parts, but measured
    measured_steps: int = 0


def diagnosis(log: Log, entropy: str = "", seed: int = 0) -> Diagnosis:
    """A UserError where the log has no entropy."""
    h = entropy_of(log, entropy)
    if h is None:
        raise UserError(lacks_entropy(log))
    rows = np.isfinite(h.values)
    found, said = drivers(log, h.values), {}
    t = log.step[rows].astype(np.float64)
    return Diagnosis(
        source=log.source,
        step=t,
        entropy=at(h, rows),
        entropy_ends=known(ends(h.values)),
        fall=attempt(said, "fall", exhaustion, t, h.values[rows], seed),
        drivers=found,
        series={driver.name: log.series[driver.name][rows] for driver in found},
        parts=parts_of_the_change(log),
        moves=moves(log),
        missing=missing(log),
        refusals=said,
        notes=log.notes,
    )
