"""Checkpoints: a Hugging Face model folder with the run's state, published at once and checked before use."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import torch as safetensors
from torch import Tensor

from isotherm.files import full_disk, json_bytes, publish_directory, remove, write_whole

PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")  # no folders, nothing hidden, no way out
MANIFEST, STATE, TENSORS = "manifest.json", "state.json", "state.safetensors"


class Damaged(Exception):
    """Why a checkpoint must not be used."""


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int


def save(
    folder: Path,
    step: int,
    policy_files: Callable[[Path], None],
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Publishes `checkpoints/step-000040` of the run in `folder`, then prunes to the newest `keep` (0: all).

    A whole checkpoint of this step is left as it is: a step of a run has one content.
    """
    home = Path(folder) / "checkpoints"
    final, partial = home / name_of(step), home / f".partial-{name_of(step)}"
    with full_disk(folder):
        home.mkdir(parents=True, exist_ok=True)
        sweep(home)
        if not is_whole(final):
            write_partial(partial, step, policy_files, tensors, state)
            retire(final)
            publish_directory(partial, final)
        prune(home, step, keep)
    return final


def latest(folder: Path, notes: list[str] | None = None, before: int | None = None) -> Checkpoint | None:
    """The newest undamaged checkpoint, of a step below `before` if given; `notes` gets a sentence per damaged one."""
    found, damaged = None, []
    for step, path in steps(Path(folder) / "checkpoints"):
        if before is not None and step >= before:
            continue
        try:
            verify(path)
        except Damaged as why:
            damaged.append(f"checkpoint {path.name} is damaged ({why})")
            continue
        found = Checkpoint(path, step)
        break
    ending = f"going back to {found.path.name}" if found else "no older one is whole"
    if notes is not None:
        notes += [f"{sentence}; {ending}" for sentence in damaged]
    return found


def load_tensors(path: Path) -> dict[str, Tensor]:
    # Cloned: a tensor in the mapped file lies at any address, and kernels may round differently by alignment.
    return {name: x.clone() for name, x in safetensors.load_file(path / TENSORS).items()}


def load_state(path: Path) -> dict[str, Any]:
    return json.loads((path / STATE).read_bytes())


def verify(path: Path, contents: bool = True) -> None:
    """Raises Damaged unless every file is as the manifest says; with `contents` False only the sizes are compared."""
    for name, wanted in read_manifest(path).items():
        size = size_of(path / name)
        if size != wanted["bytes"]:
            raise Damaged(f"{name} has {size} bytes instead of {wanted['bytes']}")
        if contents and sha256_of(path / name) != wanted["sha256"]:
            raise Damaged(f"{name} does not match its SHA-256")


def is_whole(path: Path, contents: bool = True) -> bool:
    try:
        verify(path, contents)
    except Damaged:
        return False
    return True


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """The files of the manifest, whose own bytes must be exactly those that `manifest` writes for what it says."""
    if path.is_symlink() or not path.is_dir():
        raise Damaged("it is not a plain folder")
    size_of(path / MANIFEST)
    try:
        raw = (path / MANIFEST).read_bytes()
        said = json.loads(raw)
        step, files = said["step"], said["files"]
        if raw == manifest(step, files) and path.name == name_of(step) and well_formed(files):
            return files
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # a manifest that cannot be read is as damaged as one that reads differently
    raise Damaged(f"{MANIFEST} is not as it was written")


def well_formed(files: dict[str, dict[str, Any]]) -> bool:
    return all(PLAIN.fullmatch(name) and entry.keys() == {"bytes", "sha256"} for name, entry in files.items())


def manifest(step: int, files: dict[str, dict[str, Any]]) -> bytes:
    body = {"step": step, "files": files}
    return json_bytes(body | {"sha256": hashlib.sha256(json_bytes(body)).hexdigest()})


def write_partial(
    partial: Path, step: int, policy_files: Callable[[Path], None], tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """All files of a checkpoint, the manifest last; on any failure none."""
    try:
        partial.mkdir()
        policy_files(partial)
        safetensors.save_file({k: x.detach().cpu().contiguous() for k, x in tensors.items()}, partial / TENSORS)
        write_whole(partial / STATE, json_bytes(state))
        paths = sorted(partial.iterdir())
        if odd := [p.name for p in paths if not PLAIN.fullmatch(p.name)]:
            raise ValueError(f"a checkpoint cannot hold files with names like {odd[0]!r}")
        files = {p.name: {"bytes": size_of(p), "sha256": sha256_of(p)} for p in paths}
        write_whole(partial / MANIFEST, manifest(step, files))
    except BaseException:
        remove(partial)
        raise


def tidy(folder: Path, step: int, keep: int) -> None:
    """Finishes what a kill right after the publishing of `step` left undone."""
    home = Path(folder) / "checkpoints"
    sweep(home)
    prune(home, step, keep)


def sweep(home: Path) -> None:
    for stale in home.glob(".partial-*"):
        remove(stale)


def prune(home: Path, newest: int, keep: int) -> None:
    """Removes what is older than the newest `keep` up to step `newest`; those with files missing do not count."""
    older = [path for step, path in steps(home) if step < newest]
    kept = [path for path in older if is_whole(path, contents=False)][: keep - 1] if keep else older
    for path in older:
        if path not in kept:
            retire(path)


def retire(path: Path) -> None:
    """Removes a checkpoint; a kill in between leaves a `.partial-old`, never half a checkpoint under its name."""
    if path.exists() or path.is_symlink():
        aside = path.with_name(f".partial-old-{path.name}")
        os.rename(path, aside)
        remove(aside)


def steps(home: Path) -> list[tuple[int, Path]]:
    """(step, path) of everything named like a checkpoint, newest first."""
    named = [(int(p.name[5:]), p) for p in home.glob("step-*") if re.fullmatch(r"step-[0-9]{6,12}", p.name)]
    return sorted(((step, p) for step, p in named if p.name == name_of(step)), reverse=True)


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def size_of(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError as error:
        raise Damaged(f"{path.name} is missing" if isinstance(error, FileNotFoundError) else str(error)) from None
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(f"{path.name} is not a plain file")
    return found.st_size


def sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read: {error.strerror}") from None
