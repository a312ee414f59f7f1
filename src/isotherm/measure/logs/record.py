"""One training log, whoever wrote it: series under our names, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isotherm.errors import UserError
from isotherm.measure.logs.gather import Gathered
from isotherm.measure.logs.names import UNKNOWN, Name, found, tool_of
from isotherm.measure.logs.settings import known_settings

HUGE = 1e100  # sums of squares of larger values overflow


@dataclass(frozen=True)
class Source:
    """Where a log comes from. An unknown tool or version is an empty text."""

    tool: str
    version: str
    format: str
    file: Path


@dataclass(frozen=True)
class Origin:
    """What a series is called in the log, and what that tool means by it."""

    key: str
    note: str


@dataclass(frozen=True)
class Log:
    """`series[name]` is aligned with `step`, NaN where a step has no value; names are those of the catalogue."""

    source: Source
    step: np.ndarray
    series: dict[str, np.ndarray]
    origin: dict[str, Origin]
    settings: dict[str, Any]
    notes: tuple[str, ...]


def assemble(
    gathered: Gathered,
    file: Path,
    format: str,
    tool: str = "",
    version: str = "",
    settings: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Log:
    """Name the series, align them on one axis of steps, and say what was found on the way."""
    tool = tool or tool_of(gathered.seen)
    kept, said = choose(gathered, tool)
    if not kept:
        raise UserError(nothing(gathered, file, format))
    blocks = {id(steps): steps for key, _ in kept.values() for steps, _ in gathered.points_of[key]}
    axis = np.unique(np.concatenate(list(blocks.values())))
    series: dict[str, np.ndarray] = {}
    for name, (key, row) in kept.items():
        points = gathered.points_of.pop(key)
        steps = np.concatenate([block for block, _ in points])
        values = np.concatenate([block for _, block in points], dtype=np.float64)
        series[name] = on_axis(axis, steps, values)
        series[name] *= row.scale
        series[name] += row.offset
        said += finite(name, axis, series[name]) + repeated(steps)
    origin = {name: Origin(key, row.note) for name, (key, row) in kept.items()}
    said += [*gathered.notes(), *gaps(axis), *unread(gathered, kept)]
    if tool == UNKNOWN:
        said.insert(0, "No known tool was recognised by its names, so what is meant by them is unknown.")
    source = Source("" if tool == UNKNOWN else tool, version, format, file)
    return Log(
        source, axis, series, origin, known_settings(settings or {}, tool), tuple(dict.fromkeys([*notes, *said]))
    )


def on_axis(axis: np.ndarray, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values at their steps, NaN at others; where a step is given twice, the last value is kept."""
    if np.array_equal(steps, axis):
        return values
    found = np.full(len(axis), np.nan)
    found[np.searchsorted(axis, steps)] = values
    return found


def nothing(gathered: Gathered, file: Path, format: str) -> str:
    """Why no series is left."""
    if any(gathered.seen.values()) and (causes := gathered.notes()):
        return f"{file} was read as {format}, but nothing in it can be used: {'; '.join(c[:-1] for c in causes)}."
    named = ", ".join(list(gathered.seen)[:12]) or "none"
    return (
        f"{file} was read as {format}, but holds no series that is known here (entropy, reward, length, grad_norm, "
        f"...); its columns are: {named}."
    )


def choose(gathered: Gathered, tool: str) -> tuple[dict[str, tuple[str, Name]], list[str]]:
    """For each of our names the log's one series that means it: never two mixed."""
    kept: dict[str, tuple[str, Name]] = {}
    said: list[str] = []
    for name, key, row in found(gathered.points_of, tool):
        if name in kept:
            said.append(f"{key} would be {name} too; it is left out, and {kept[name][0]} is kept.")
        else:
            kept[name] = key, row
    return kept, said


def finite(name: str, axis: np.ndarray, values: np.ndarray) -> list[str]:
    """Takes out what is beyond HUGE; logged values that are not finite are marked by infinity until here."""
    said = []
    beyond = (values > HUGE) | (values < -HUGE)
    for bad, what in ((np.isinf(values), "NaN or infinite"), (beyond & np.isfinite(values), f"beyond {HUGE:g}")):
        if bad.any():
            where = f"{bad.sum()} steps, first at step {axis[bad][0]}" if bad.sum() > 1 else f"step {axis[bad][0]}"
            said.append(f"{name} is {what} at {where}.")
    values[beyond] = np.nan
    return said


def repeated(steps: np.ndarray) -> list[str]:
    """Steps with several values of one series, as after a resume, or with several updates per step."""
    said = []
    back = np.flatnonzero(np.diff(steps) < 0)
    order = np.sort(steps)
    twice = np.unique(order[1:][np.diff(order) == 0])
    if len(twice):
        many = f"{len(twice)} steps from {twice[0]} to {twice[-1]} have" if len(twice) > 1 else f"Step {twice[0]} has"
        said.append(f"{many} several values of one series; the last is kept.")
    if len(back):
        high, low = steps[back[-1]], steps[back[-1] + 1]
        said.append(f"The steps go back from {high} to {low}, as after a resume; what was written last is kept.")
        if (reached := steps[back[-1] + 1 :].max()) < high:
            said.append(f"Steps {reached + 1} to {high} were written before that, and not again.")
    return said


def gaps(axis: np.ndarray) -> list[str]:
    """Holes of more than twice the usual distance between steps."""
    distance = np.diff(axis)
    if len(distance) < 3:
        return []
    usual = np.median(distance)
    wide = np.flatnonzero(distance > 2 * usual)
    if not len(wide):
        return []
    i = wide[np.argmax(distance[wide])]
    more = f", the widest of {len(wide)} gaps" if len(wide) > 1 else ""
    return [f"Nothing is logged between steps {axis[i]} and {axis[i + 1]}{more}."]


def unread(gathered: Gathered, kept: Mapping[str, tuple[str, Name]]) -> list[str]:
    used = {key for key, _ in kept.values()}
    names = [key for key in gathered.seen if key not in used]
    if not names:
        return []
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return [f"{len(names)} other names are not read: {shown}."]
