"""What a run reads beside its settings, by content.

A run's folder goes on only with the same problems, models and rollouts to replay.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from isotherm.errors import UserError
from isotherm.files import json_bytes, read_json, write_whole
from isotherm.policy.folder import CARRIED
from isotherm.policy.model import model_folder
from isotherm.rollout.store import path_of
from isotherm.update.config import Config

LARGE = 2**30  # bytes; of a file beyond them only the size is kept


def claim_inputs(config: Config, path: Path, new: bool) -> None:
    """Writes the digests of a new run, or refuses what differs; what a run from before has none of is accepted."""
    found = digests(config)
    if new:
        write_whole(path, json_bytes(found))
    elif path.is_file():
        there = read_json(path)
        had = {setting_of(name) for name in there}
        names = [name for name in sorted({*found, *there}) if setting_of(name) in had]
        changed = [name for name in names if found.get(name) != there.get(name)]
        if changed:
            setting, *file = changed[0].split("/")
            raise UserError(
                f"{path.parent} holds a run with another {setting}: {'/'.join([getattr(config, setting, ''), *file])} "
                "has changed since it began; restore that, or give another folder with --out."
            )


def setting_of(name: str) -> str:
    return name.partition("/")[0]


def digests(config: Config) -> dict[str, str]:
    """setting, or setting/file of the folder that it names -> the SHA-256 of the content."""
    found = {name: digest(Path(getattr(config, name))) for name in ("data", "eval_data") if getattr(config, name)}
    for name in ("model", "reference"):
        if getattr(config, name):
            folder = model_folder(getattr(config, name))
            files = [p for p in folder.iterdir() if p.name in CARRIED or p.suffix == ".safetensors"]
            found |= {f"{name}/{p.name}": digest(p) for p in files}
    if config.replay:
        files = [path_of(config.replay, step) for step in range(1, config.steps + 1)]
        found |= {f"replay/{p.relative_to(config.replay).as_posix()}": digest(p) for p in files}
    return found


def digest(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > LARGE:
            return f"{size} bytes"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
