"""The rows of a run that is being watched, as checked arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isotherm.errors import UserError
from isotherm.measure.laws.series import check, column

START = 3  # rows: their mean is the entropy at the start; one row alone has a noise of several per cent
NOW = 3  # rows, the last ones, whose mean is the entropy now
SHORT = {"entropy": "entropy/exact", "reward": "reward/mean"}


@dataclass(frozen=True)
class Watched:
    """The rows of a run that have an entropy, by the names of `isotherm metrics`; what a row lacks is NaN."""

    columns: dict[str, np.ndarray]

    @property
    def entropy(self) -> np.ndarray:
        return self.columns["entropy/exact"]

    @property
    def start(self) -> float:
        """Mean entropy of the first 3 rows."""
        return float(self.entropy[:START].mean())

    @property
    def now(self) -> float:
        """Mean entropy of the last 3 rows."""
        return float(self.entropy[-NOW:].mean())

    def column(self, name: str) -> np.ndarray:
        """The finite values of a column; empty where there is none."""
        values = self.columns.get(name, np.empty(0))
        return values[np.isfinite(values)]

    def mean(self, name: str, rows: int = 0) -> float:
        """Mean of the finite values of the last rows (0: of all); NaN where there are none."""
        values = self.columns.get(name, np.empty(0))[-rows:]
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else math.nan

    def first(self, rows: int) -> Watched:
        """The run as it was after its first rows."""
        return Watched({name: x[:rows] for name, x in self.columns.items()})


def watched(metrics: Mapping[str, ArrayLike]) -> Watched:
    """Metrics of a run, by their names or by `entropy` and `reward`, as checked arrays; rows without entropy go."""
    named = {SHORT.get(name, name): column(SHORT.get(name, name), x) for name, x in metrics.items()}
    if "entropy/exact" not in named:
        raise UserError(f"A warning needs the entropy, but the metrics are only: {', '.join(named) or 'none'}.")
    rows = len(named["entropy/exact"])
    for name, x in named.items():
        if len(x) != rows:
            raise UserError(f"The columns must have a value in every row, but entropy has {rows} and {name} {len(x)}.")
    known = ~np.isnan(named["entropy/exact"])
    run = Watched(named if known.all() else {name: x[known] for name, x in named.items()})
    for name in run.columns:
        check(*(("entropy", run.entropy) if name == "entropy/exact" else (name, run.column(name))))
    if len(run.entropy) < START + NOW:
        raise UserError(f"A warning needs at least {START + NOW} rows with an entropy, but there are {known.sum()}.")
    if run.start <= 0:
        raise UserError("The entropy is 0 from the start, so nothing is left of it that could collapse.")
    return run
