"""Tables with a line of names: plain CSV and TSV, and what W&B exports from a chart."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from isotherm.errors import UserError
from isotherm.measure.logs.gather import STEPS, Gathered, number
from isotherm.measure.logs.names import wanted
from isotherm.measure.logs.places import Place, nameless, one, one_run, shared
from isotherm.measure.logs.record import Log, assemble

FORMAT, EXPORT = "CSV", "W&B CSV export"
LINE_END = pc.MatchSubstringOptions("\n")
EMPTY = ["", "None", "null", "NA", "N/A"]
SMALL, LARGE = 1 << 20, 1 << 22  # bytes read at once; Arrow reads ahead, and small blocks take less memory


@dataclass(frozen=True)
class Heading:
    """The names of a table and what is between them."""

    delimiter: str
    names: list[str]

    @property
    def runs(self) -> list[str]:
        """The runs of a W&B export, whose columns are 'run - metric' with __MIN and __MAX beside each."""
        named = [name.rpartition(" - ")[0] for name in self.names if name.endswith("__MIN")]
        return list(dict.fromkeys(named)) if self.names[0] in STEPS else []


def heading(place: Place) -> Heading | None:
    """The first line as names, where the second line fits under it and holds a number."""
    lines = place.lines
    if len(lines) < 2:
        return None
    for delimiter in sorted(",\t;|", key=lines[0].count, reverse=True):
        try:
            rows = csv.reader(io.StringIO(place.text), delimiter=delimiter, strict=True)
            first, second = next(rows), next(filter(None, rows))
        except (csv.Error, StopIteration):
            continue
        names = [name.strip() for name in first]
        if len(names) > 1 and len(second) == len(names) and not any(number(n) is not None for n in names):
            return Heading(delimiter, names) if any(number(cell) is not None for cell in second) else None
    return None


def reads(place: Place) -> bool:
    """A line of names, one of them known here, and numbers under it."""
    if place.text.lstrip().startswith(("{", "[")) or (head := heading(place)) is None:
        return False
    return any(n in STEPS or wanted(n) or n.endswith("__MIN") for n in head.names)


def read(found: list[Place], run: str) -> Log:
    tables = [(place, head) for place in found if (head := heading(place)) is not None]
    if not all(head.runs for _, head in tables):
        place = one(found, FORMAT)
        nameless(run, place.path)
        gathered = Gathered()
        notes = table_of(place.path, tables[0][1], gathered, dict(enumerate(tables[0][1].names)))
        return assemble(gathered, place.path, FORMAT, notes=notes)
    where = shared(found)
    chosen = one_run(list(dict.fromkeys(r for _, head in tables for r in head.runs)), run, where)
    gathered, notes = Gathered(), []
    for place, head in tables:
        mine = {i: n.removeprefix(f"{chosen} - ") for i, n in enumerate(head.names)}
        mine = {
            i: n for i, n in mine.items() if (n in STEPS or n != head.names[i]) and not n.endswith(("__MIN", "__MAX"))
        }
        gathered.step_name = ""  # each chart has an axis of its own
        notes += table_of(place.path, head, gathered, mine)
    return assemble(gathered, where, EXPORT, notes=notes)


def table_of(path: Path, head: Heading, gathered: Gathered, named: dict[int, str]) -> list[str]:
    """Read the columns of these numbers under these names; returns what was wrong."""
    chosen = {i: name for i, name in named.items() if name in STEPS or gathered.wants(name)}
    twice = [name for name, count in Counter(chosen.values()).items() if count > 1]
    first = {name: i for i, name in reversed(chosen.items())}
    chosen = {i: name for i, name in chosen.items() if first[name] == i}
    uneven: list[str] = []
    quotes, size = scanned(path)
    try:
        for batch in batches(path, head, list(map(str, named if quotes else chosen)), uneven, size):
            if quotes:
                for i, column in zip(named, batch.columns, strict=True):
                    long = column.filter(pc.call_function("match_substring", [column], LINE_END)).to_pylist()
                    refuse_swallowed(path, head, long, number_wanted=i in chosen)
            columns: dict[str, np.ndarray] = {}
            for i, name in chosen.items():
                columns[name], texts = parsed(batch.column(str(i)))
                if name not in STEPS:
                    gathered.text(name, texts)
            gathered.rows(columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}.") from None
    pa.default_memory_pool().release_unused()  # of the blocks, which Arrow would keep
    refuse_swallowed(path, head, uneven)
    again = [f"Several columns are named {name}; the first of them is read." for name in twice]
    short = [f"{len(uneven)} lines have another number of cells, and are left out."] if uneven else []
    return ended(path) + again + short


def scanned(path: Path) -> tuple[bool, int]:
    """Whether there is a quote in the file, and in what blocks to read it: Arrow takes no row longer than two."""
    size = SMALL
    with path.open("rb") as file:
        while chunk := file.read(SMALL):
            if b'"' in chunk:
                return True, LARGE
            if len(chunk) == SMALL and b"\n" not in chunk:
                size = LARGE
    return False, size


def refuse_swallowed(path: Path, head: Heading, texts: list[str], number_wanted: bool = False) -> None:
    """A cell or row that holds whole rows, or a part of one for a number: a quote before them was not closed."""
    for text in texts:
        for line in text.splitlines()[1:]:
            cells = line.split(head.delimiter)
            whole = len(cells) == len(head.names) and any(number(cell) is not None for cell in cells)
            if whole or (number_wanted and len(cells) > 1):
                raise UserError(
                    f"{path} has a quote that is not closed, at {text.splitlines()[0][:40]!r}, so the rows behind it "
                    "cannot be told apart; mend that row."
                )


def batches(path: Path, head: Heading, columns: list[str], uneven: list[str], size: int) -> Iterator[pa.RecordBatch]:
    """The rows under the line of names, as texts, in blocks."""

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        uneven.append(row.text)
        return "skip"

    names = [str(i) for i in range(len(head.names))]
    with path.open("rb") as file:  # by name Arrow opens only what is UTF-8
        yield from pyarrow.csv.open_csv(
            file,
            pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, block_size=size, encoding="latin1"),
            pyarrow.csv.ParseOptions(delimiter=head.delimiter, newlines_in_values=True, invalid_row_handler=skip),
            pyarrow.csv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=EMPTY,
                strings_can_be_null=True,
            ),
        )


def parsed(texts: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Cells as numbers, and those that are neither number nor empty: NaN where empty, infinity where not finite."""
    try:
        values = texts.cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
    except pa.ArrowInvalid:
        cells = texts.to_pylist()
        numbers = [number(cell) for cell in cells]
        bad = [cell for n, cell in zip(numbers, cells, strict=True) if n is None and cell is not None]
        return np.array([np.nan if n is None else n for n in numbers]), bad
    values[texts.is_valid().to_numpy(zero_copy_only=False) & ~np.isfinite(values)] = np.inf
    return values, []


def ended(path: Path) -> list[str]:
    """Whether the last line has its end."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 1))
        return [] if file.read() in b"\r\n" else ["The last line has no line end; its last cell may be cut off."]
