"""The folder of a run: who may write in it, its metrics and timings, and how they are wound back on resume."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

from isotherm.errors import UserError
from isotherm.files import append_whole, full_disk, sync, write_whole


class RunFolder:
    """`with RunFolder(path) as folder:` holds the folder alone until the end of the block or of the process."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.method = self.path / "method.py"  # the text of the user's own methods, to read; never executed
        self.inputs = self.path / "inputs.json"  # SHA-256 of the problems, models and rollouts that the settings name
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"  # only what is deterministic
        self.timings = self.path / "timings.jsonl"  # a row that belongs to a step has the key "step"
        self.rollouts = self.path / "rollouts"
        self.checkpoints = self.path / "checkpoints"
        self.report = self.path / "report.html"
        self.traceback = self.path / "traceback.txt"  # of what the user's own code raised
        self.lock: int | None = None

    def __enter__(self) -> RunFolder:
        try:
            with full_disk(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"The run folder {self.path} cannot be made: {error.strerror}.") from None
        try:
            hold(fd, self.path)
        except BaseException:
            os.close(fd)
            raise
        self.lock = fd
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def log(self, row: dict[str, Any]) -> None:
        """Adds one row to metrics.jsonl."""
        self.append(self.metrics, row)

    def log_timing(self, row: dict[str, Any]) -> None:
        """Adds one row to timings.jsonl."""
        self.append(self.timings, row)

    def append(self, path: Path, row: dict[str, Any]) -> None:
        with full_disk(self.path):
            append_whole(path, line(row))

    def mark(self) -> int:
        """The size of metrics.jsonl in bytes, all of it on the disk: it goes into the checkpoint's state."""
        with full_disk(self.path):
            for path in (self.metrics, self.timings):
                append_whole(path, b"")
                sync(path)
            sync(self.path)
        return self.metrics.stat().st_size

    def rewind(self, size: int, step: int) -> None:
        """Takes back what was logged after the `mark` of a checkpoint of `step`; (0, -1) starts anew.

        metrics.jsonl is cut to `size` bytes; timings keep their whole rows up to `step` and those without a step.
        """
        content = self.metrics.read_bytes() if self.metrics.exists() else b""
        if len(content) < size or (size and content[size - 1 : size] != b"\n"):
            raise UserError(
                f"{self.metrics} has {len(content)} bytes and was changed since step {step}, when it had {size} whole: "
                "rows of that checkpoint are missing."
            )
        with full_disk(self.path):
            if len(content) > size:
                os.truncate(self.metrics, size)
            texts = self.timings.read_bytes().split(b"\n") if self.timings.exists() else []
            rows = [row for row in map(parsed, texts) if row is not None and row.get("step", -1) <= step]
            write_whole(self.timings, b"".join(map(line, rows)))
        self.mark()


def hold(fd: int, path: Path) -> None:
    """Locks the open lock file and writes our pid into it. The kernel frees the lock of a process that dies."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, ImportError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise UserError(
                f"The run folder {path} is in use by {f'process {owner}' if owner else 'another process'}; "
                "wait until that ends or choose another folder."
            ) from None
        raise UserError(
            f"The run folder {path} cannot be locked, because flock is not supported here ({error}); "
            "choose a folder on a local disk."
        ) from None
    with full_disk(path):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def line(row: dict[str, Any]) -> bytes:
    """One JSON line: sorted keys, floats in the shortest form that reads back the same, NaN and infinity as null."""
    return (json.dumps(jsonable(row), sort_keys=True, allow_nan=False) + "\n").encode()


def jsonable(value: Any) -> Any:
    """Plain Python numbers in place of NumPy's and torch's, None in place of NaN and infinity."""
    if isinstance(value, dict):
        return {key: jsonable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file. A last line without its newline that is no whole row was cut off: left out."""
    try:
        *lines, last = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    rows = [parsed(text) for text in lines]
    if None in rows:
        raise UserError(f"{path}, line {rows.index(None) + 1} is not a JSON object; remove it or restore the file.")
    return [row for row in [*rows, parsed(last)] if row is not None]


def parsed(text: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
