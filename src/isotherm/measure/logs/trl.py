"""TRL: trainer_state.json of the newest checkpoint, and the parquet files of log_completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from isotherm.errors import UserError
from isotherm.measure.logs.gather import Gathered
from isotherm.measure.logs.places import Place, shared
from isotherm.measure.logs.record import Log, assemble

STATE, COMPLETIONS = "trainer_state.json", "completions parquet"
SHARE = "share of stored responses with reward 1"
COLUMNS = {"step", "prompt", "completion", "advantage"}


def reads(place: Place) -> bool:
    if place.head.startswith(b"PAR1"):
        return completions(place.path)
    state = place.text.lstrip().startswith("{") and '"global_step"' in place.text
    return state and ('"log_history"' in place.text or place.path.name == STATE)


def completions(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return set(pyarrow.parquet.read_schema(file).names) >= COLUMNS
    except (pa.ArrowException, OSError):
        return False


def read(found: list[Place], run: str) -> Log:
    tables = [p.path for p in found if p.head.startswith(b"PAR1")]
    states = [p.path for p in found if not p.head.startswith(b"PAR1")]
    gathered, notes = Gathered(), []
    if not states:
        notes += responses(tables, gathered)
        return assemble(gathered, shared(found), COMPLETIONS, "TRL", notes=notes)
    loaded = [(path, state(path)) for path in states]
    path, newest = max(loaded, key=lambda pair: (pair[1]["global_step"], len(pair[0].parts) * -1))
    if len({p.parent.parent if p.parent.name.startswith("checkpoint") else p.parent for p in states}) > 1:
        names = ", ".join(map(str, states[:6]))
        raise UserError(f"There are trainer_state.json files of several runs here: {names}; give the path of one.")
    if len(states) > 1:
        notes.append(f"Of {len(states)} trainer_state.json files the one with the last step is read.")
    for start in range(0, len(newest["log_history"]), 4096):
        gathered.dictionaries([r for r in newest["log_history"][start : start + 4096] if isinstance(r, dict)])
    notes += responses([t for t in tables if t.parent.parent in (path.parent, path.parent.parent)], gathered)
    return assemble(gathered, path, STATE, "TRL", settings={"max_steps": newest.get("max_steps")}, notes=notes)


def state(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged or still being written: {error}.") from None
    except OSError as error:
        raise UserError(f"The log {path} cannot be read: {error.strerror}.") from None
    if not isinstance(value, dict) or not isinstance(value.get("log_history"), list):
        raise UserError(f"{path} is no trainer_state.json: it has no list log_history.")
    step = value.get("global_step")
    return {**value, "global_step": step if isinstance(step, int) else -1}


def responses(paths: list[Path], gathered: Gathered) -> list[str]:
    """Means over the stored responses of each step, of what the log does not hold already."""
    rows: list[tuple[int, float, float, bool]] = []
    notes: list[str] = []
    for path in paths:
        try:
            with path.open("rb") as file:
                rows += steps_of(pyarrow.parquet.read_table(file))
        except (pa.ArrowException, OSError) as error:
            notes.append(f"{path.name} cannot be read and is left out: {str(error).splitlines()[0]}.")
        except UserError as error:
            notes.append(f"{path.name}: {error}")
    if not rows:
        return notes
    step, reward, signal, binary = map(np.array, zip(*rows, strict=True))
    if "reward" not in gathered.points_of:
        gathered.points("reward", step, reward)
        gathered.points("frac_reward_zero_std", step, 1 - signal)
    if binary.all():
        gathered.points(SHARE, step, reward)
    return notes


def steps_of(table: pa.Table) -> list[tuple[int, float, float, bool]]:
    """Step, mean reward, share of the prompts with an advantage other than 0, and whether all rewards are 0 or 1."""
    numeric = [f.name for f in table.schema if f.name not in COLUMNS and pa.types.is_floating(f.type)]
    if len(numeric) != 1:
        raise UserError(
            f"which of its columns ({', '.join(numeric) or 'none is of numbers'}) is the reward is unknown."
        )
    reward = table.column(numeric[0]).cast(pa.float64()).to_numpy()
    step = table.column("step").cast(pa.int64()).to_numpy()
    prompt = np.unique(np.array([repr(p) for p in table.column("prompt").to_pylist()]), return_inverse=True)[1]
    active = np.abs(table.column("advantage").cast(pa.float64()).to_numpy()) > 0
    rows = []
    for s in np.unique(step):
        mine = step == s
        known = reward[mine & np.isfinite(reward)]
        signal = float(np.mean([active[mine & (prompt == g)].any() for g in np.unique(prompt[mine])]))
        mean = float(known.mean()) if len(known) else np.nan
        rows.append((int(s), mean, signal, len(known) == mine.sum() and bool(np.isin(known, (0, 1)).all())))
    return rows
