"""Files that are written whole or not at all, whatever happens in between: a kill, a power cut, a full disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isotherm.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """The file at `path` holds either what it held before or all of `content`; text is written as UTF-8."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with opened(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW) as fd:
            write_all(fd, content.encode() if isinstance(content, str) else content)
            os.fsync(fd)
        os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise
    sync(path.parent)


def append_whole(path: str | Path, content: bytes) -> None:
    """Adds `content` to the end of the file; where that fails the file keeps its old length."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fd:
        size = os.fstat(fd).st_size
        try:
            write_all(fd, content)
        except BaseException:
            os.ftruncate(fd, size)
            raise


def publish_directory(partial: Path, final: Path) -> None:
    """The directory `partial` appears as `final` once all of it is on the disk; where that fails it is removed."""
    try:
        for place, _, names in os.walk(partial, topdown=False):
            for name in names:
                sync(Path(place, name))
            sync(Path(place))
        os.rename(partial, final)
    except BaseException:
        remove(partial)
        raise
    sync(final.parent)


def sync(path: Path) -> None:
    """Returns once the file or directory is on the disk."""
    with opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)


def remove(path: Path) -> None:
    """Removes a file, a link or a whole directory, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def json_bytes(value: Any) -> bytes:
    """JSON with sorted keys and a line per entry: the same value gives the same bytes. NaN and infinity are refused."""
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that the user named, or one sentence that says what the file holds instead."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, not {type(value).__name__}.")
    return value


@contextlib.contextmanager
def full_disk(folder: str | Path) -> Iterator[None]:
    """Turns 'no space left' from within into the sentence for the user; every other error passes."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_full(error):
            raise
        kept = any(path for run in (folder, Path(folder).parent) for path in Path(run, "checkpoints").glob("step-*"))
        raise UserError(
            f"The disk (or the quota) of {folder} is full, so nothing more can be saved there"
            f"{'; the last checkpoint stands' if kept else ''}. Free some space and give the same command again"
            f"{' to go on from it' if kept else ''}. ({error})"
        ) from error


def is_full(error: Exception) -> bool:
    """Whether the error means a full disk. safetensors gives the error's number only in its text."""
    number = error.errno if isinstance(error, OSError) else None
    return number in FULL or any(f"(os error {n})" in str(error) for n in FULL)


@contextlib.contextmanager
def opened(path: str | Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags, 0o666)
    try:
        yield fd
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes) -> None:
    """os.write may take only a part: a disk that fills up does."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
