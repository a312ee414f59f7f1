"""Collects the points of a log as they are read, in blocks, and remembers what could not be used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from isotherm.measure.logs.names import wanted

# The first of these in a log is its step. Trackers count calls (Step, _step), so a trainer's own goes first.
STEPS = (
    "train/global_step", "trainer/global_step", "global_step", "step", "train/step", "progress/batch", "rollout/step",
    "global step", "training_step", "steps", "iteration", "iter", "update", "Step", "_step", "training/global_step",
)  # fmt: skip
LARGEST = 2.0**53
NAMES_KEPT = 5000


class Gathered:
    """Points by the log's own names, in the order of writing.

    In a block NaN means absent, and infinity that a value was logged which is not finite.
    """

    def __init__(self) -> None:
        self.seen: dict[str, bool] = {}  # every name that holds numbers, and whether it is wanted
        self.points_of: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}  # steps, which series share, and values
        self.step_name = ""
        self.numbered = 0  # rows that were numbered for want of a step
        self.lost = 0  # rows with values and without a usable step
        self.unusable = ""  # a column of steps that holds no number
        self.texts: dict[str, list[Any]] = {}  # how many values are no numbers where numbers are wanted, and the first

    def wants(self, name: str) -> bool:
        if name not in self.seen:
            if len(self.seen) >= NAMES_KEPT:
                return wanted(name)
            self.seen[name] = wanted(name)
        return self.seen[name]

    def points(self, name: str, steps: np.ndarray, values: np.ndarray) -> None:
        """Values of one series; NaN means absent."""
        there = ~np.isnan(values)
        if self.wants(name) and there.any():
            some = (steps, values) if there.all() else (steps[there], values[there])
            self.points_of.setdefault(name, []).append(some)

    def rows(self, columns: Mapping[str, np.ndarray]) -> None:
        """A block of rows as columns of one length, a step among them or none."""
        lengths = {len(values) for values in columns.values()}
        if not lengths or lengths == {0}:
            return
        self.step_name = self.step_name or self.find_step(columns)
        wanted = {n: v for n, v in columns.items() if n not in STEPS and not np.isnan(v).all() and self.wants(n)}
        if self.step_name:
            steps = columns.get(self.step_name, np.full(lengths.pop(), np.nan))
        elif wanted:
            self.unusable = self.unusable or next((name for name in STEPS if name in columns), "")
            steps = np.arange(self.numbered + 1, self.numbered + 1 + lengths.pop(), dtype=np.float64)
            self.numbered = int(steps[-1])
        else:
            return
        usable = np.isfinite(steps) & (np.abs(steps) < LARGEST)
        usable[usable] = steps[usable] == np.floor(steps[usable])
        if not usable.all():
            filled = [~np.isnan(v[~usable]) for v in wanted.values()]
            self.lost += int(np.any(filled, axis=0).sum()) if filled else 0
            wanted = {name: values[usable] for name, values in wanted.items()}
        whole = steps[usable].astype(np.int64)
        for name, values in wanted.items():
            self.points(name, whole, values)

    def find_step(self, columns: Mapping[str, np.ndarray]) -> str:
        return next((name for name in STEPS if name in columns and np.isfinite(columns[name]).any()), "")

    def text(self, name: str, values: Sequence[Any]) -> None:
        """Count values of a wanted series that are no numbers."""
        if values and self.wants(name):
            self.texts.setdefault(name, [0, values[0]])[0] += len(values)

    def dictionaries(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """A block of rows as JSON objects."""
        flat = [dict(flattened(row)) for row in rows]
        names = [n for n in dict.fromkeys(n for row in flat for n in row) if n in STEPS or self.wants(n)]
        columns: dict[str, np.ndarray] = {}
        for name in names:
            values = [number(row.get(name)) for row in flat]
            columns[name] = np.array([np.nan if v is None else v for v in values])
            if name not in STEPS:
                pairs = zip(values, (row.get(name) for row in flat), strict=True)
                self.text(name, [given for v, given in pairs if v is None and given is not None])
        self.rows(columns)

    def notes(self) -> list[str]:
        said = []
        if self.numbered:
            why = f"{self.unusable} holds no numbers" if self.unusable else "There is no column of steps"
            said.append(f"{why}; the rows are numbered from 1.")
        if self.lost:
            said.append(f"{self.lost} rows have no whole number as {self.step_name}, and are left out.")
        said += [no_numbers(name, *found) for name, found in list(self.texts.items())[:6]]
        return said


def no_numbers(name: str, count: int, first: Any) -> str:
    """Says so, with an example."""
    comma = isinstance(first, str) and re.fullmatch(r"\s*[-+]?\d+,\d+\s*", first)
    hint = ": a decimal point is read, a decimal comma is not" if comma else ""
    return f"{name} has {count} values that are no numbers, such as {repr(first)[:40]}{hint}."


WRAPPERS = ("data", "metrics", "logs")  # objects around the values, whose names say nothing


def flattened(row: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterable[tuple[str, Any]]:
    """Nested objects as names with slashes."""
    for key, value in row.items():
        if isinstance(value, dict):
            if depth < 4:
                yield from flattened(value, prefix if key in WRAPPERS else f"{prefix}{key}/", depth + 1)
        else:
            yield f"{prefix}{key}", value


def number(value: Any) -> float | None:
    """A logged value as a number; what is not finite becomes infinity, and what is no number None."""
    if isinstance(value, str):
        try:
            value = float(value) if len(value) < 64 and "_" not in value else None
        except ValueError:
            return None
    if not isinstance(value, (int, float)):
        return None
    try:
        value = float(value)
    except OverflowError:
        return np.inf
    return value if np.isfinite(value) else np.inf


def parsed_object(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object in a text, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
