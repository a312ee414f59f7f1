"""Our own run folders: metrics.jsonl beside config.json."""

from __future__ import annotations

from isotherm.errors import UserError
from isotherm.files import read_json
from isotherm.measure.logs.gather import parsed_object
from isotherm.measure.logs.json_lines import lines_of
from isotherm.measure.logs.names import ISOTHERM, tool_of
from isotherm.measure.logs.places import Place, one
from isotherm.measure.logs.record import Log, assemble

FORMAT = "run folder"


def reads(place: Place) -> bool:
    if place.path.name != "metrics.jsonl" or not (place.path.parent / "config.json").is_file():
        return False
    rows = [row for line in place.lines[:5] if (row := parsed_object(line)) is not None]
    return tool_of({name for row in rows for name in row}) == ISOTHERM


def read(found: list[Place], run: str) -> Log:
    path = one(found, FORMAT).path
    gathered, notes = lines_of(path)
    try:
        config = read_json(path.parent / "config.json")
    except (UserError, OSError) as error:
        config, notes = {}, [*notes, f"The settings cannot be read: {error}"]
    return assemble(gathered, path, FORMAT, ISOTHERM, settings=config, notes=notes)
