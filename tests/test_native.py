"""Compiling on demand: once, into a folder of one's own, and never in the way of somebody without a compiler."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import isotherm
from isotherm import native
from isotherm.errors import UserError
from isotherm.native import build, compile_to
from isotherm.update import precision

fresh = build.__wrapped__  # without the process's memory of what it has built


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and an empty folder for temporary files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "cache" / "isotherm"


needs_compiler = pytest.mark.skipif(not native.on(), reason=native.reason())


@needs_compiler
@pytest.mark.skipif(platform.system() != "Linux" or not shutil.which("cc"), reason="there is no C compiler here")
def test_where_there_is_a_compiler_it_compiles() -> None:
    """Else every test of the compiled functions would be one of their plain twins."""
    assert native.build().functions is not None, native.build().reason


def test_it_is_compiled_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fresh().functions is not None
    assert [p.suffix for p in sorted(place.iterdir())] == ["", ".so"]  # a lock, and what was made
    assert place.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(native, "compile_to", lambda *_: pytest.fail("compiled again"))
    assert fresh().functions is not None


@needs_compiler
def test_changed_sources_are_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    before = native.fingerprint("cc")
    assert native.fingerprint("cc") == before
    monkeypatch.setattr(native, "FLAGS", [*native.FLAGS, "-g"])
    assert native.fingerprint("cc") != before


def test_without_a_compiler(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    found = fresh()
    assert found.functions is None
    assert found.reason == "there is no C compiler here"


def test_a_compiler_that_fails(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'no such thing as -march' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    found = fresh()
    assert found.functions is None
    assert found.reason == f"{broken} failed: no such thing as -march"
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiler_that_cannot_even_say_its_version(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    found = fresh()
    assert found.functions is None
    assert found.reason == "false failed: Command '['false', '--version']' returned non-zero exit status 1."


@needs_compiler
def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert fresh().functions is not None
    assert list((tmp_path / f"isotherm-{os.getuid()}").glob("native-*.so"))


@needs_compiler
def test_a_folder_that_others_write_to_is_not_trusted(place: Path, tmp_path: Path) -> None:
    place.mkdir(parents=True)
    shared = tmp_path / f"isotherm-{os.getuid()}"
    shared.mkdir()
    for folder in (place, shared):
        folder.chmod(0o777)
        (folder / f"native-{native.fingerprint('cc')}.so").write_bytes(b"not ours")
    found = fresh()
    assert found.functions is None
    assert "can be written to by others" in found.reason


@needs_compiler
def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "SECONDS", 0.001)
    with pytest.raises(Exception, match="timed out"):
        compile_to("cc", tmp_path / "native.so")
    assert not list(tmp_path.iterdir())


def test_the_choice_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.choose("float32", 1, 128, "cpu", "plain").kernels == "plain"
    monkeypatch.setattr(native, "build", lambda: native.Build(None, "there is no C compiler here"))
    chosen = precision.choose("float32", 1, 128, "cpu", "auto")
    assert chosen.kernels == "plain"
    assert "plain functions: there is no C compiler here" in chosen.reason
    with pytest.raises(UserError, match="kernels is compiled, but there is no C compiler here; choose auto or plain"):
        precision.choose("float32", 1, 128, "cpu", "compiled")
    with native.using(native.wanted()), pytest.raises(UserError, match="uses compiled functions, but there is no C"):
        chosen._replace(kernels="compiled").use()


@needs_compiler
def test_a_run_keeps_its_choice_and_says_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "train": "chain:1", "held_out": "", "prompts": 2, "group": 2, "max_new": 4, "eval_every": 0, "steps": 1,
        "dtype": "float32", "out": str(tmp_path / "run"),
    }  # fmt: skip
    config = isotherm.Config(**settings)
    isotherm.train(config, quiet=True)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["precision"]["kernels"] == "compiled"
    monkeypatch.setattr(native, "build", lambda: native.Build(None, "there is no C compiler here"))
    with pytest.raises(UserError, match="there is no C compiler here; start one with kernels=plain"):
        isotherm.train(config, quiet=True)
    isotherm.train(dataclasses.replace(config, out=str(tmp_path / "other")), quiet=True)
    environment = json.loads((tmp_path / "other" / "environment.json").read_text())
    assert environment["precision"]["kernels"] == "plain"


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this system has no large pages")
def test_large_tensors_lie_in_large_pages() -> None:
    """In a process of its own: the C library's settings cannot be taken back."""
    program = """
import re, torch
from isotherm import native

assert native.keep_memory() and native.keep_memory()
x = torch.ones(1 << 24)
place = f"{x.data_ptr() + (1 << 24):x}"
for part in re.split(r"\\n(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read()):
    start, end = part.split()[0].split("-")
    if int(start, 16) <= int(place, 16) < int(end, 16):
        assert " hg" in part.split("VmFlags:")[1], part
        print("found")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(isotherm.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "found\n", done.stderr
