"""`read(path)`: anybody's training log as one record, without conversion.

To add a format: a file with `reads(place) -> bool` and `read(places, run) -> Log`, and its line in READERS. To add a
tool that writes a known format: its names in names.py.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path

from isotherm.errors import UserError
from isotherm.measure.catalogue import METRICS, describe
from isotherm.measure.logs import (
    csv_table,
    json_lines,
    names,
    prime_rl,
    run_folder,
    tensorboard,
    trackio,
    trl,
    verl,
    wandb_offline,
)
from isotherm.measure.logs.places import nameless, packed, places, tried
from isotherm.measure.logs.record import Log

READERS = (
    run_folder,
    trl,
    json_lines,
    csv_table,
    wandb_offline,
    trackio,
    tensorboard,
    prime_rl,
    verl,
)  # the first counts
SINGLE = (run_folder, trl, json_lines, prime_rl, verl)  # formats that hold one run, and do not name it
LOOKED_FOR = (
    "a run folder of ours, TRL's trainer_state.json or completions parquet, JSON lines, verl's console log, a W&B "
    "offline run or CSV export, a trackio database, TensorBoard events, prime-rl's token exports, CSV"
)
MEANINGS = (
    *(metric.name for metric in METRICS if metric.name.startswith("entropy/")),
    "reward/mean", "pass@1/train", "length/mean", "update/clip", "update/grad_norm", "update/lr", "kl/reference",
)  # fmt: skip
ASKED = 40  # files that are looked at for what else is there


def read(path: str | Path, run: str = "", columns: Mapping[str, str] | None = None) -> Log:
    """The log at a path, a file or a folder, recognised by its content; `run` names one of several runs in it.

    `columns` says what unknown columns mean: the log's name -> one of ours.
    """
    if not isinstance(columns, Mapping | None):
        raise UserError(f"columns takes a dictionary such as {{'ent': 'entropy/exact'}}, not {columns!r}.")
    for key, name in (columns or {}).items():
        check_meaning(key, name)
    with names.told(columns or {}):
        log = recognised(Path(path), run)
    for key, name in (columns or {}).items():
        if name not in log.origin or log.origin[name].key != key:
            here = ", ".join(sorted({origin.key for origin in log.origin.values()})[:12])
            raise UserError(
                f"{log.source.file} has no numbers in a column {key!r}, or two are said to be {name}; it has: {here}."
            )
    return log


def is_log(path: Path) -> bool:
    """Whether the file is there and would be read as a log."""
    place = tried(path) if path.is_file() else None
    return place is not None and any(reader.reads(place) for reader in READERS)


def check_meaning(key: str, name: str) -> None:
    if not isinstance(name, str) or describe(name) is None or name == "step":
        near = difflib.get_close_matches(str(name), MEANINGS, n=3, cutoff=0.3)
        raise UserError(
            f"The column {key!r} cannot mean {name!r}; write one of {', '.join(near or MEANINGS)} "
            "(`isotherm metrics` lists all)."
        )


def recognised(path: Path, run: str) -> Log:
    found = places(path)
    for reader in READERS:
        if mine := [place for place in found if reader.reads(place)]:
            if reader in SINGLE:
                nameless(run, path)
            log = reader.read(mine, run)
            rest = [place for place in found if place not in mine][:ASKED]
            others = [place.path.name for place in rest if any(r.reads(place) for r in READERS if r is not reader)]
            if others:
                named = ", ".join(dict.fromkeys(others[:6])) + (", ..." if len(others) > 6 else "")
                return dataclasses.replace(log, notes=(*log.notes, f"Also here, and not read: {named}."))
            return log
    if len(found) == 1 and (kind := packed(found[0])):
        raise UserError(f"{found[0].path} is packed with {kind}; unpack it first.")
    if len(found) == 1 and not found[0].head:
        raise UserError(f"The log {found[0].path} is empty.")
    if len(found) == 1 and found[0].head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"The log {found[0].path} is UTF-16; write it as UTF-8.")
    if len(found) == 1 and b"\r" in found[0].head and b"\n" not in found[0].head:
        raise UserError(f"The lines of {found[0].path} end in carriage returns alone; write line feeds.")
    what = f"the {len(found)} files under {path}" if path.is_dir() else str(path)
    raise UserError(f"No training log was recognised in {what}; looked for {LOOKED_FOR}.")
