"""The files under a path, how they begin, and which of them a reader of logs may open."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from isotherm.errors import UserError

HEAD = 1 << 15
DEEPEST, MOST = 6, 20_000
PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True)
class Place:
    """A regular file and its first bytes."""

    path: Path
    head: bytes

    @property
    def text(self) -> str:
        """The beginning as text, without a byte order mark; empty where it is no text."""
        head = self.head.removeprefix(b"\xef\xbb\xbf")
        return "" if b"\0" in head else head.decode("utf-8", errors="replace")

    @property
    def lines(self) -> list[str]:
        """The first lines, without one that the end of the head cuts."""
        lines = self.text.splitlines()
        return lines[:-1] if len(self.head) == HEAD and len(lines) > 1 else lines


def places(path: Path) -> list[Place]:
    """The file at a path, or the regular files under a folder, in the order of their names."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"The log {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # a null byte in the name
        raise UserError(f"The log {str(path)!r} cannot be read: {error}.") from None
    if stat.S_ISREG(mode):
        return [opened(path)]
    if not stat.S_ISDIR(mode):
        raise UserError(f"{path} is neither a file nor a folder.")
    return [place for found in walk(path) if (place := tried(found)) is not None]


def walk(folder: Path) -> list[Path]:
    """Regular files, links to files among them; links to folders are not followed."""
    found: list[Path] = []
    top = len(folder.parts)
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(folders) if len(Path(name).parts) - top < DEEPEST else []
        found += [p for p in (Path(name, file) for file in sorted(files)) if filled(p)]
        if len(found) > MOST:
            raise UserError(f"{folder} holds more than {MOST} files; name the log itself, or its own folder.")
    return found


def filled(path: Path) -> bool:
    """Whether it is a regular file with something in it; those of /proc say that they are empty, and may block."""
    try:
        found = path.stat()
    except OSError:  # a broken link, or one that may not be followed
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def opened(path: Path) -> Place:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(f"The log {path} cannot be read: {error.strerror}.") from None
    return Place(path, head[:64] if b"\0" in head[:64] else head)


def shared(found: list[Place]) -> Path:
    """The file, or the folder that holds all of them."""
    return Path(os.path.commonpath([p.path for p in found]))


def tried(path: Path) -> Place | None:
    try:
        return opened(path)
    except UserError:
        return None


def packed(place: Place) -> str:
    """The kind of compression, or nothing."""
    return next((kind for magic, kind in PACKED.items() if place.head.startswith(magic)), "")


def one(found: list[Place], what: str) -> Place:
    """The only file, or a sentence that asks for one."""
    if len(found) > 1:
        names = ", ".join(str(p.path) for p in found[:6]) + (", ..." if len(found) > 6 else "")
        raise UserError(f"There are {len(found)} logs here ({what}): {names}; give the path of one.")
    return found[0]


def one_run(runs: list[str], run: str, where: Path) -> str:
    """The run that was asked for, or the only one there is."""
    shown = ", ".join(repr(r) for r in runs[:12]) + (", ..." if len(runs) > 12 else "")
    if run and run not in runs:
        raise UserError(f"{where} holds no run {run!r}; it holds: {shown}.")
    if not run and len(runs) > 1:
        raise UserError(f"{where} holds {len(runs)} runs; name one of them: {shown}.")
    return run or runs[0]


def nameless(run: str, where: Path) -> None:
    """Refuses a name where the only run has none."""
    if run:
        raise UserError(f"{where} holds one run without a name, so there is no run {run!r} in it; leave --run out.")
