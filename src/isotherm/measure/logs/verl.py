"""verl's console log: lines like `step:12 - actor/entropy:0.31 - ...` among everything else that is printed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isotherm.errors import UserError
from isotherm.measure.logs.gather import Gathered
from isotherm.measure.logs.json_lines import blocks
from isotherm.measure.logs.places import Place, one
from isotherm.measure.logs.record import Log, assemble

FORMAT = "console log"
LINE = re.compile(rb"step:(\d{1,15}) - ([^\s:][^:\n]*:[^\n]*)")
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
RAY = re.compile(r"^\([A-Za-z_]\w*(?: [\w.=-]+)* pid=\d+[^)]*\) ?")
WRAPPED = re.compile(r"np\.\w+\((.*)\)")
SEARCHED, LARGEST = 1 << 28, 1 << 20


def reads(place: Place) -> bool:
    """A line of metrics anywhere in the first 256 MiB of a text."""
    if not place.text or (place.text.lstrip()[:1] in "{[" and LINE.search(place.head) is None):
        return False
    if LINE.search(place.head):
        return True
    size = 0
    try:
        for block, _ in blocks(place.path):
            if LINE.search(block):
                return True
            size += len(block)
            if size > SEARCHED:
                break
    except UserError:
        pass
    return False


def read(found: list[Place], run: str) -> Log:
    path = one(found, FORMAT).path
    gathered, cut = Gathered(), False
    for block, last in blocks(path):
        rows = [metrics(match) for match in LINE.finditer(block)]
        if last and rows:
            cut = True
            rows[-1] = dict(list(rows[-1].items())[:-1])
        gathered.dictionaries(rows)
    notes = ["The last line is cut off; its last value is left out."] if cut else []
    return assemble(gathered, path, FORMAT, settings=configuration(path), notes=notes)


def metrics(match: re.Match[bytes]) -> dict[str, Any]:
    """One line as a row. A value may be a NumPy number as repr writes it."""
    row: dict[str, Any] = {"step": int(match[1])}
    for part in COLOUR.sub("", match[2].decode(errors="replace")).strip().split(" - "):
        name, colon, value = part.rpartition(":")
        if colon:
            inner = WRAPPED.fullmatch(value.strip())
            row[name.strip()] = inner[1] if inner else value.strip()
    return row


def configuration(path: Path) -> dict[str, Any]:
    """The settings that verl prints before it trains, a Python dictionary over many lines; {} where there is none."""
    text: list[str] = []
    size = 0
    for line in first_lines(path):
        bare = RAY.sub("", COLOUR.sub("", line)).rstrip()
        if not text and not bare.startswith(("{'actor_rollout_ref'", "{'algorithm'")):
            continue
        text.append(bare)
        size += len(bare)
        if size > LARGEST:
            return {}
        if bare.endswith("}"):
            try:
                value = ast.literal_eval("\n".join(text))
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            return value if isinstance(value, dict) else {}
        if LINE.search(line.encode()):
            return {}
    return {}


def first_lines(path: Path) -> Iterator[str]:
    block, _ = next(blocks(path), (b"", False))
    yield from block.decode(errors="replace").splitlines()
