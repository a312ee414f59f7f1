"""JSON lines: one object per line, as prime-rl, verl's file logger, our run folders and many scripts write."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json

from isotherm.errors import UserError
from isotherm.measure.logs.gather import STEPS, WRAPPERS, Gathered, flattened, number, parsed_object
from isotherm.measure.logs.names import wanted
from isotherm.measure.logs.places import Place, one
from isotherm.measure.logs.record import Log, assemble

FORMAT = "JSON lines"
NAMED = re.compile(r'"([^"\\]{1,199})":')
NUMBERED = re.compile(r'"([^"\\]{1,199})":\s*-?\d')
BLOCK, SMALL, LONGEST = 1 << 23, 1 << 16, 1 << 26
LONG, OPENED = 2000, 500  # bytes of a line that is looked into, and the brackets in it that are too many
OTHERS = ({"token_ids", "loss_mask"}, {"input", "output"}, {"log_history"})  # rows that are no metrics


def reads(place: Place) -> bool:
    """Objects line by line, with a number that is known here or a step."""
    if not place.text.lstrip().startswith("{"):
        return False
    if "\n" in place.text:
        rows = [row for line in place.lines[:50] if line.strip() and (row := parsed_object(line)) is not None]
        names = {name for row in rows for name, value in flattened(row) if number(value) is not None}
        top = {key for row in rows for key in row}
    else:  # one line, or the beginning of a long one
        names, top = set(NUMBERED.findall(place.text)), set(NAMED.findall(place.text))
    return not any(other <= top for other in OTHERS) and any(n in STEPS or wanted(n) for n in names)


def read(found: list[Place], run: str) -> Log:
    place = one(found, FORMAT)
    gathered, notes = lines_of(place.path)
    return assemble(gathered, place.path, FORMAT, notes=notes)


def lines_of(path: Path) -> tuple[Gathered, list[str]]:
    """All points of a file of JSON lines, and what was wrong with its lines."""
    gathered, bad, before = Gathered(), [], 0
    for block, last in blocks(path):
        bad += parsed(block, last, before, gathered)
        before += block.count(b"\n")
    return gathered, said(bad)


def parsed(block: bytes, last: bool, before: int, gathered: Gathered) -> list[tuple[int, bool]]:
    """Gather a block, in halves where Arrow's reader does not take it, so that few lines go the slow way."""
    if fast(block, gathered):
        return []
    middle = block.find(b"\n", len(block) // 2) + 1
    if len(block) < SMALL or not 0 < middle < len(block):
        return slow(block, gathered, before, last)
    first = parsed(block[:middle], last, before, gathered)
    return first + parsed(block[middle:], last, before + block[:middle].count(b"\n"), gathered)


def said(bad: list[tuple[int, bool]]) -> list[str]:
    torn = ["The last line is cut off, and is left out."] if any(cut for _, cut in bad) else []
    lines = [line for line, cut in bad if not cut]
    if lines:
        torn.append(f"{len(lines)} lines are no JSON objects, and are left out; the first is line {lines[0]}.")
    return torn


def blocks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Whole lines in pieces of some megabytes; what comes after the last line end is a block of its own."""
    rest = b""
    try:
        with path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":
                file.seek(0)
            while chunk := file.read(BLOCK):
                head, end, rest = (rest + chunk).rpartition(b"\n")
                if len(rest) > LONGEST:
                    raise UserError(f"{path} has a line of more than {LONGEST >> 20} MiB, so it is no log.")
                if end:
                    yield head + end, False
    except OSError as error:
        raise UserError(f"The log {path} cannot be read: {error.strerror}.") from None
    if rest.strip():
        yield rest, True


def fast(block: bytes, gathered: Gathered) -> bool:
    """A block by Arrow's reader; False where that does not understand it."""
    if nested(block):
        return False
    try:
        table = pyarrow.json.read_json(io.BytesIO(block), pyarrow.json.ReadOptions(block_size=1 << 20))
        columns = dict(numeric(table, gathered))
    except (pa.ArrowException, ValueError):
        return False
    gathered.rows(columns)
    return True


def nested(block: bytes) -> bool:
    """Whether a line opens so many objects and lists that Arrow's reader, which recurses, could crash on it."""
    starts = np.concatenate([[0], np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1, [len(block)]])
    long = np.flatnonzero(np.diff(starts) > LONG)
    spans = zip(starts[long].tolist(), starts[long + 1].tolist(), strict=True)
    return any(block.count(b"{", *span) + block.count(b"[", *span) > OPENED for span in spans)


def numeric(table: pa.Table, gathered: Gathered) -> Iterator[tuple[str, np.ndarray]]:
    for name, column in flat_columns(table):
        if name not in STEPS and not gathered.wants(name):
            continue
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_timestamp(kind):
            raise ValueError("text among numbers is looked at line by line")
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            yield name, logged(column)


def logged(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64: NaN where it is null, infinity where a value is not finite."""
    values = column.cast(pa.float64(), safe=False).to_numpy().copy()
    values[column.is_valid().to_numpy() & ~np.isfinite(values)] = np.inf
    return values


def flat_columns(table: pa.Table, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Columns with nested objects as names with slashes, as `flattened` names them."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_struct(column.type):
            yield prefix + name, column
        elif depth < 4 and column.type.num_fields:
            parts = {field.name: part for field, part in zip(column.type, column.flatten(), strict=True)}
            yield from flat_columns(pa.table(parts), prefix if name in WRAPPERS else f"{prefix}{name}/", depth + 1)


def slow(block: bytes, gathered: Gathered, before: int, last: bool) -> list[tuple[int, bool]]:
    """A block line by line; returns the numbers of the lines that are no objects, and whether each is cut off."""
    rows, bad = [], []
    for i, line in enumerate(block.split(b"\n"), before + 1):
        if line.strip():
            row = parsed_object(line)
            rows += [row] if row is not None else []
            bad += [(i, last)] if row is None else []
    for start in range(0, len(rows), 4096):
        gathered.dictionaries(rows[start : start + 4096])
    return bad
