"""The demo: what is wrong with either arm is said before one is started, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from isotherm import cli, demo
from isotherm.errors import UserError
from isotherm.update import checkpoint
from isotherm.update.folder import RunFolder, read_rows
from models import tiny_model

ROOT = Path(__file__).parents[1]
SMALL = ["--prompts", "2", "--group", "2", "--max-new", "8", "--eval-problems", "0", "--dtype", "float32",
         "--kernels", "plain"]  # fmt: skip
ARMS = ("grpo-seed0", "kl-cov-k-0.2-beta-3-seed0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--out file", "The folder file cannot be written to: File exists."),
        ("--method nope", "There is no method named 'nope'"),
        ("--data nope", "nope cannot be read"),
        ("--train nope:1", "There is no family of problems 'nope'"),
    ],
)
def test_a_mistake_starts_nothing(capsys, monkeypatch, tmp_path, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.subprocess, "Popen", lambda *_, **__: pytest.fail("an arm was started"))
    (tmp_path / "file").touch()
    assert cli.main(["demo", *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_arm_has_the_settings_of_the_whole(monkeypatch, tmp_path):
    """Of the recipe, the files and the command line; each said once."""
    started: list[list[str]] = []
    monkeypatch.setattr(demo.subprocess, "Popen", lambda command, **_: started.append(command))
    (config, _) = cli.read_settings(["--lr", "0.25", "--eval-k", "1,4", "--out", str(tmp_path)])
    for arm in demo.arms(config):
        demo.launch(arm, tmp_path / "arm", [])
        assert cli.read_settings(started[-1][3:]) == (arm, False)


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A demo of many steps, once both of its arms have done some."""
    command = [sys.executable, "-m", "isotherm", "demo", "--steps", "5000", "--out", str(folder), *SMALL]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--model", str(tiny_model(folder))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        try:
            metrics = [folder / arm / "metrics.jsonl" for arm in ARMS]
            wait_until(lambda: all(path.is_file() and path.stat().st_size for path in metrics))
            yield process
        finally:
            process.kill()  # nothing to one that has ended


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_sigterm_ends_both_arms(tmp_path):
    with running(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    for arm in ARMS:
        with RunFolder(tmp_path / arm) as folder:  # held by nobody
            assert list(folder.checkpoints.glob("step-*"))


def test_arms_of_a_demo_that_is_killed_stop_after_a_whole_step(tmp_path):
    with running(tmp_path) as process:
        process.kill()
    for arm in ARMS:
        log = tmp_path / f"{arm}.log"
        wait_until(lambda log=log: "Stopped after a whole step and saved in" in log.read_text())
        wait_until(lambda arm=arm: not held(tmp_path / arm))
        found = checkpoint.latest(tmp_path / arm, [])
        assert found is not None
        assert found.step == read_rows(tmp_path / arm / "metrics.jsonl")[-1]["step"]


def held(path: Path) -> bool:
    try:
        with RunFolder(path):
            return False
    except UserError:
        return True
