"""Where a page may be written: never over what was read, nor over a run's own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from isotherm.errors import UserError
from isotherm.files import write_whole

OWN = ("config.json", "environment.json")


def check(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuses an output that is an input, a training log, among the files of a run, or another of the outputs."""
    for i, path in enumerate(outputs):
        try:
            if not path.name or path.is_dir():
                raise UserError(f"{path} cannot be written: it is a folder; give the name of a file.")
            if any(same(path, other) for other in outputs[:i]):
                raise UserError(f"{path} is given for two outputs; give each a file of its own.")
            if any(same(path, other) for other in inputs) or a_log(path):
                raise UserError(f"{path} is not written over, for it is a log or was read; choose another file.")
            if in_a_run(path):
                raise UserError(
                    f"{path} lies among the files of a run; choose a name that ends in .html, or another folder."
                )
        except (OSError, ValueError) as error:
            raise unwritable(path, error) from None


def same(path: Path, other: Path) -> bool:
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    return path.exists() and other.exists() and path.samefile(other)


def a_log(path: Path) -> bool:
    if path.suffix == ".html" or not path.exists():
        return False
    from isotherm.measure.logs import is_log  # its readers take a while to import

    return is_log(path)


def in_a_run(path: Path) -> bool:
    """Whether it lies in a run folder, under a name that is no page's, no picture's and no table of numbers'."""
    place = Path(os.path.realpath(path))
    folders = [f for f in place.parents if (f / "metrics.jsonl").is_file() and (f / "config.json").is_file()]
    beside = path.suffix in (".json", ".png") and place.name not in OWN and place.parent in folders
    return bool(folders) and path.suffix != ".html" and not beside


def write(path: Path, content: bytes | str) -> Path:
    """Writes the file whole or not at all, or says in a sentence why it cannot be written."""
    try:
        write_whole(path, content)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None
    return path


def make_folder(path: Path) -> None:
    """The folder that a page is to lie in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: Exception) -> UserError:
    name = str(path) if len(str(path)) < 300 else f"{str(path)[:80]}..."
    return UserError(f"{name} cannot be written: {getattr(error, 'strerror', None) or error}.")
