"""trackio's database: one SQLite file per project, a row of JSON per call of log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from isotherm.errors import UserError
from isotherm.measure.logs.gather import Gathered, parsed_object
from isotherm.measure.logs.places import Place, one, one_run
from isotherm.measure.logs.record import Log, assemble

FORMAT = "trackio database"
MAGIC = b"SQLite format 3\0"
READING = (sqlite3.Error, OSError, UnicodeDecodeError)  # the last where SQLite quotes damaged names
WAIT = 2.0  # seconds for a writer to let go


def reads(place: Place) -> bool:
    """A SQLite file with a table of metrics, or one that a writer holds too long to tell."""
    if not place.head.startswith(MAGIC):
        return False
    try:
        connected(place.path, []).close()
    except sqlite3.OperationalError:
        return True
    except READING:
        return False
    return True


def read(found: list[Place], run: str) -> Log:
    path = one(found, FORMAT).path
    notes: list[str] = []
    try:
        with closing(connected(path, notes)) as database:
            runs = [
                str(r) for (r,) in database.execute("SELECT run_name FROM metrics GROUP BY run_name ORDER BY MIN(id)")
            ]
            if not runs:
                raise UserError(f"The trackio database {path} holds no metrics.")
            name = one_run(runs, run, path)
            gathered, lost = points(database, name)
            settings = configuration(database, name)
    except READING as error:
        raise UserError(f"The trackio database {path} cannot be read: {error}.") from None
    if lost:
        notes.append(f"{lost} rows are no JSON objects, and are left out.")
    return assemble(gathered, path, FORMAT, settings=settings, notes=notes)


def connected(path: Path, notes: list[str]) -> sqlite3.Connection:
    """The database, read only. One whose write-ahead log is closed is opened so that no file appears beside it."""
    address = path.resolve().as_uri() + "?mode=ro"
    log = path.with_name(path.name + "-wal")
    if write_ahead(path) and not log.exists():
        return opened(address + "&immutable=1")
    try:
        return opened(address)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise
        notes.append(f"{path.name} was read without {log.name}; its newest rows may be missing.")
        return opened(address + "&immutable=1")


def write_ahead(path: Path) -> bool:
    """Whether the header says that writes go to a log first."""
    with path.open("rb") as file:
        return file.read(20)[18:20] == b"\2\2"


def opened(address: str) -> sqlite3.Connection:
    database = sqlite3.connect(address, uri=True, timeout=WAIT)
    database.text_factory = lambda text: text.decode(errors="replace")
    try:
        tables(database)
    except BaseException:
        database.close()
        raise
    return database


def tables(database: sqlite3.Connection) -> None:
    kinds = dict(database.execute("SELECT name, type FROM sqlite_master WHERE name IN ('metrics', 'configs')"))
    if kinds.get("metrics") != "table":
        raise sqlite3.DatabaseError("it has no table metrics")


def points(database: sqlite3.Connection, run: str) -> tuple[Gathered, int]:
    gathered, lost = Gathered(), 0
    cursor = database.execute("SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id", (run,))
    while rows := cursor.fetchmany(4096):
        block: list[dict[str, Any]] = []
        for step, text in rows:
            row = parsed_object(text) if isinstance(text, (str, bytes)) else None
            lost += row is None
            block += [{"_step": step, **row}] if row is not None else []
        gathered.dictionaries(block)
    return gathered, lost


def configuration(database: sqlite3.Connection, run: str) -> dict[str, Any]:
    try:
        rows = database.execute(
            "SELECT config FROM configs WHERE run_name = ? ORDER BY id DESC LIMIT 1", (run,)
        ).fetchall()
    except sqlite3.Error:
        return {}  # older versions have no such table
    return (parsed_object(rows[0][0]) or {}) if rows and isinstance(rows[0][0], (str, bytes)) else {}
