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
WAIT = 2.0  # seconds for a writer to let go


def reads(place: Place) -> bool:
    """A SQLite file with a table of metrics, or one that a writer holds too long to tell."""
    if not place.head.startswith(MAGIC):
        return False
    try:
        connected(place.path, []).close()
    except sqlite3.OperationalError:
        return True
    except sqlite3.Error:
        return False
    return True


def read(found: list[Place], run: str) -> Log:
    path = one(found, FORMAT).path
    notes: list[str] = []
    try:
        with closing(connected(path, notes)) as database:
            runs = [str(r) for (r,) in database.execute("SELECT run_name FROM metrics GROUP BY run_name ORDER BY MIN(id)")]
            if not runs:
                raise UserError(f"The trackio database {path} holds no metrics.")
            name = one_run(runs, run, path)
            gathered, lost = points(database, name)
            settings = configuration(database, name)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise UserError(f"The trackio database {path} cannot be read: {error}.") from None
    if lost:
        notes.append(f"{lost} rows are no JSON objects, and are left out.")
    return assemble(gathered, path, FORMAT, settings=settings, notes=notes)


def connected(path: Path, notes: list[str]) -> sqlite3.Connection:
    """The database, read only. Where its side files cannot be used, as in a folder that nobody may write, without them."""
    address = path.resolve().as_uri()
    database = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=WAIT)
    try:
        tables(database)
    except sqlite3.OperationalError as error:
        database.close()
        if "locked" in str(error) or "busy" in str(error):
            raise
        database = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
        tables(database)
        notes.append("The database was read without its -wal file; its newest rows may be missing.")
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
        rows = database.execute("SELECT config FROM configs WHERE run_name = ? ORDER BY id DESC LIMIT 1", (run,)).fetchall()
    except sqlite3.Error:
        return {}  # older versions have no such table
    return (parsed_object(rows[0][0]) or {}) if rows and isinstance(rows[0][0], (str, bytes)) else {}
