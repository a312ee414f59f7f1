"""W&B's offline runs, without W&B: LevelDB's log format around Record messages."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isotherm.errors import UserError
from isotherm.measure.logs.gather import Gathered
from isotherm.measure.logs.places import Place, one_run, shared
from isotherm.measure.logs.protobuf import Damaged, every, fields, last
from isotherm.measure.logs.record import Log, assemble

FORMAT = "W&B offline run"
START = b":W&B\xe1\xbe\x00"  # name, magic number and version
BLOCK, CHUNK = 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
HISTORY, CONFIG, RUN, HEADER = 2, 5, 17, 21  # fields of Record


def reads(place: Place) -> bool:
    return place.head.startswith(START[:4])


def read(found: list[Place], run: str) -> Log:
    named = {place.path.stem.removeprefix("run-"): place for place in found}  # a link to the latest run is the same run
    chosen = named[one_run(sorted(named), run, shared(found))]
    path = chosen.path
    if not chosen.head.startswith(START):
        raise UserError(f"{path} is a W&B run of a version that is not known here.")
    gathered, notes, config, version, damaged = Gathered(), [], {}, "", 0
    rows: list[dict[str, Any]] = []
    for record in records(path, notes):
        try:
            for field, _, content in fields(record):
                if not isinstance(content, bytes):
                    continue
                if field == HISTORY:
                    rows.append(history(content))
                elif field == CONFIG:
                    config |= items(content, 1)
                elif field == RUN:
                    config |= items(last_bytes(content, 4), 1)
                elif field == HEADER:
                    version = last_bytes(last_bytes(content, 1), 1).decode().partition("+")[0] or version
        except (Damaged, UnicodeDecodeError):
            damaged += 1
        if len(rows) >= 4096:
            gathered.dictionaries(rows)
            rows = []
    gathered.dictionaries(rows)
    if damaged:
        notes.append(f"{damaged} records are no W&B records, and are left out.")
    if version:
        notes.append(f"Written by W&B {version}.")
    return assemble(gathered, path, FORMAT, settings=config, notes=notes)


def last_bytes(message: bytes, field: int) -> bytes:
    value = last(message, field)
    return value if isinstance(value, bytes) else b""


def history(message: bytes) -> dict[str, Any]:
    """One logged row: its items, and the step that W&B counts."""
    row = items(message, 1)
    if "_step" not in row and (step := last(last_bytes(message, 2), 1)) is not None:
        row["_step"] = step
    return row


def items(message: bytes, field: int) -> dict[str, Any]:
    """Key (1) or nested key (2), and the value as JSON (16), of every item in a repeated field."""
    row: dict[str, Any] = {}
    for item in every(message, field):
        keys: list[str] = []
        text = b""
        for number, _, content in fields(item):
            if isinstance(content, bytes):
                keys += [content.decode()] if number in (1, 2) and content else []
                text = content if number == 16 else text
        try:
            row["/".join(keys)] = json.loads(text)
        except (ValueError, RecursionError):
            continue
    return row


def records(path: Path, notes: list[str]) -> Iterator[bytes]:
    """Whole records. A record is cut into chunks at the blocks' ends; a chunk has a checksum over its type and data."""
    parts: list[bytes] = []
    at, wrong = len(START), 0
    try:
        with path.open("rb") as file:
            block = file.read(BLOCK)
            while block:
                while at + CHUNK <= len(block):
                    crc, size, kind = struct.unpack_from("<IHB", block, at)
                    data = block[at + CHUNK : at + CHUNK + size]
                    if not kind and not size:
                        break  # zeros fill the rest of a block
                    if len(data) < size:
                        notes.append("The last record is cut off, and is left out.")
                        return
                    at += CHUNK + size
                    if zlib.crc32(data, zlib.crc32(bytes([kind]))) != crc or not FULL <= kind <= LAST:
                        wrong += 1
                        parts = []
                        continue
                    parts = [data] if kind in (FULL, FIRST) else [*parts, data] if parts else []
                    if kind in (FULL, LAST) and parts:
                        yield b"".join(parts)
                        parts = []
                block, at = file.read(BLOCK), 0
    except OSError as error:
        raise UserError(f"The log {path} cannot be read: {error.strerror}.") from None
    finally:
        if wrong:
            notes.append(f"{wrong} pieces of the file have a wrong checksum, and their records are left out.")
    if parts:
        notes.append("The last record is cut off, and is left out.")
