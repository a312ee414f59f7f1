"""Just enough of the protobuf wire format to read messages whose few fields are known by number."""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Damaged(ValueError):
    """The bytes are no protobuf message."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits per byte, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Damaged("a number is cut off or too long")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of every field: an int for a varint, otherwise its bytes."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise Damaged(f"wire type {kind} is unknown")
        if size > len(data) - at:
            raise Damaged("a field is longer than its message")
        yield number, kind, data[at : at + size]
        at += size


def last(data: bytes, wanted: int) -> int | bytes | None:
    """The value of a field that is there once; the last counts."""
    value = None
    for number, _, found in fields(data):
        if number == wanted:
            value = found
    return value


def every(data: bytes, wanted: int) -> Iterator[bytes]:
    """The messages or texts of a repeated field."""
    for number, kind, value in fields(data):
        if number == wanted and kind == BYTES and isinstance(value, bytes):
            yield value


def signed(value: int) -> int:
    """A varint as int64."""
    return value - 2**64 if value >= 2**63 else value


def floating(value: bytes) -> float:
    """Four or eight bytes as a number."""
    return struct.unpack("<f" if len(value) == 4 else "<d", value)[0]
