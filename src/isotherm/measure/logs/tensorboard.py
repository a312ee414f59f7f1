"""TensorBoard event files, without TensorBoard: TFRecord frames around Event messages."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from isotherm.errors import UserError
from isotherm.measure.logs.checksum import crc32c, crc32c_one
from isotherm.measure.logs.gather import Gathered, parsed_object
from isotherm.measure.logs.places import Place, one_run
from isotherm.measure.logs.protobuf import Damaged, every, fields, floating, last, signed, varint
from isotherm.measure.logs.record import Log, assemble

FORMAT = "TensorBoard events"
GROUP, LONGEST = 4096, 1 << 28
KINDS = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # DT_FLOAT, DOUBLE, INT32, INT64, HALF
VALUES = {5: "<f4", 6: "<f8"}  # float_val, double_val


def masked(crc: int) -> int:
    """TFRecord's disguise of a checksum."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def reads(place: Place) -> bool:
    """The first frame's length is followed by its checksum."""
    if len(place.head) < 12:
        return False
    return masked(crc32c_one(place.head[:8])) == struct.unpack_from("<I", place.head, 8)[0]


def read(found: list[Place], run: str) -> Log:
    """The files of one folder are one run, in the order of their names, which begin with the time."""
    folders: dict[Path, list[Path]] = {}
    for place in found:
        folders.setdefault(place.path.parent, []).append(place.path)
    logs = {folder: events(sorted(files)) for folder, files in folders.items()}
    logs = {folder: log for folder, log in logs.items() if log[0].points_of} or dict([*logs.items()][:1])
    top = Path(os.path.commonpath(logs))
    names = {str(folder.relative_to(top)): folder for folder in logs}
    chosen = names[one_run(list(names), run, top)]
    gathered, settings, notes = logs[chosen]
    file = folders[chosen][0] if len(folders[chosen]) == 1 else chosen
    return assemble(gathered, file, FORMAT, settings=settings, notes=notes)


def events(paths: list[Path]) -> tuple[Gathered, dict[str, Any], list[str]]:
    gathered, settings, notes = Gathered(), {}, []
    for path in paths:
        damaged = 0
        points: dict[str, tuple[list[int], list[float]]] = {}
        for event in records(path, notes):
            try:
                scalars(event, points, settings)
            except (Damaged, UnicodeDecodeError):
                damaged += 1
        for tag, (steps, values) in points.items():
            array = np.array(values)
            array[~np.isfinite(array)] = np.inf
            gathered.points(tag, np.array(steps, np.int64), array)
        if damaged:
            notes.append(f"{path.name} has {damaged} records that are no events, and are left out.")
    return gathered, settings, notes


def records(path: Path, notes: list[str]) -> Iterator[bytes]:
    """The contents of the frames whose checksums hold, in groups; the rest of a file after a bad length is lost."""
    wrong = 0
    try:
        with path.open("rb") as file:
            whole = True
            while whole:
                group: list[tuple[bytes, int]] = []
                while whole and len(group) < GROUP:
                    frame = next_frame(file, path, notes)
                    whole = frame is not None
                    group += [frame] if frame is not None else []
                good = [masked(c) == crc for c, (_, crc) in zip(crc32c([d for d, _ in group]), group, strict=True)]
                wrong += good.count(False)
                yield from (data for (data, _), right in zip(group, good, strict=True) if right)
    except OSError as error:
        raise UserError(f"The log {path} cannot be read: {error.strerror}.") from None
    if wrong:
        notes.append(f"{path.name} has {wrong} records with a wrong checksum, and they are left out.")


def next_frame(file: Any, path: Path, notes: list[str]) -> tuple[bytes, int] | None:
    """Length, its checksum, content and its checksum."""
    head = file.read(12)
    if not head:
        return None
    size, crc = struct.unpack("<QI", head) if len(head) == 12 else (0, 0)
    if len(head) == 12 and masked(crc32c_one(head[:8])) != crc:
        notes.append(f"{path.name} is damaged after byte {file.tell() - 12}; the rest is not read.")
        return None
    content = file.read(size + 4) if len(head) == 12 and size < LONGEST else b""
    if len(content) < size + 4 or len(head) < 12:
        notes.append(f"The last record of {path.name} is cut off, and is left out.")
        return None
    return content[:-4], struct.unpack("<I", content[-4:])[0]


def scalars(event: bytes, points: dict[str, tuple[list[int], list[float]]], settings: dict[str, Any]) -> None:
    """Adds the scalars of one Event: field 2 is the step, 5 the summary, 1 in that its values."""
    step = last(event, 2) or 0
    for summary in every(event, 5):
        for value in every(summary, 1):
            tag, number, tensor = "", None, b""
            for field, _, content in fields(value):
                if field == 1 and isinstance(content, bytes):
                    tag = content.decode()
                elif field == 2 and isinstance(content, bytes):
                    number = floating(content)
                elif field == 8 and isinstance(content, bytes):
                    tensor = content
            if tensor and tag.endswith("/text_summary"):
                settings.update(parsed_object(last_text(tensor)) or {})
            number = scalar(tensor) if number is None and tensor else number
            if number is not None and isinstance(step, int):
                steps, values = points.setdefault(tag, ([], []))
                steps.append(signed(step))
                values.append(number)


def last_text(tensor: bytes) -> bytes:
    value = last(tensor, 8)
    return value if isinstance(value, bytes) else b""


def scalar(tensor: bytes) -> float | None:
    """The only number of a TensorProto (1 is its type, 4 its bytes, 5 and 6 its floats); None for other tensors."""
    kind, packed, number = 0, b"", None
    for field, _, content in fields(tensor):
        if field == 1 and isinstance(content, int):
            kind = content
        elif field == 4 and isinstance(content, bytes):
            packed = content
        elif field in VALUES and isinstance(content, bytes) and len(content) == np.dtype(VALUES[field]).itemsize:
            number = floating(content)
        elif field in (7, 10):  # int_val, int64_val
            number = float(signed(content if isinstance(content, int) else varint(content, 0)[0]))
    if kind in KINDS and len(packed) == np.dtype(KINDS[kind]).itemsize:
        return float(np.frombuffer(packed, KINDS[kind])[0])
    return number if kind in KINDS else None
