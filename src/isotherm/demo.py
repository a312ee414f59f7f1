"""Two arms of one seed, each on a core of its own, side by side; then one report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isotherm.api import check, folder_of
from isotherm.errors import UserError
from isotherm.report.page import write_report
from isotherm.report.summary import sentences
from isotherm.report.watch import watch
from isotherm.runs import load_run
from isotherm.update.config import Config, as_dict, override

BASE, OTHER = "grpo", "kl_cov(k=0.2, beta=3)"


def arms(config: Config) -> list[Config]:
    """GRPO and the intervention with the same settings and seed, one thread each."""
    other = config.method if config.method != BASE else OTHER
    root = Path(config.out or "runs/demo")
    both = [override(config, {"method": m, "threads": 1, "out": ""}) for m in (BASE, other)]
    return [override(c, {"out": str(root / folder_of(c).name)}) for c in both]


def run(config: Config, recipe: list[str]) -> int:
    """`recipe` holds the user's recipe, if there is one: it may add the method that the arms name."""
    configs, started = arms(config), time.monotonic()
    folders, processes = [folder_of(c) for c in configs], []
    for c in configs:
        check(c)
    with ended_by_sigterm():
        try:
            processes += (launch(c, f, recipe) for c, f in zip(configs, folders, strict=True))
            watch(folders, [c.method for c in configs], processes)
        finally:
            finish(processes)
    failed = [p for p in processes if p.returncode]
    if failed:
        raise UserError(failure(folders, processes))
    runs = [load_run(f) for f in folders]
    page = write_report(runs, folders[0].parent / "report.html")
    print("\n".join(sentences(runs)))
    print(f"Report: {page} (the whole took {time.monotonic() - started:.0f} s)")
    return 0


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends what is within as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def launch(config: Config, folder: Path, recipe: list[str]) -> subprocess.Popen[Any]:
    """One arm as a process of its own, what it prints in a log beside its folder; its input ends with this process."""
    values = {n: ",".join(map(str, v)) if isinstance(v, list) else v for n, v in as_dict(config).items()}
    settings = [f"--{name}={value}" for name, value in values.items()]
    command = [sys.executable, "-m", "isotherm.demo", *recipe, *settings]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with log_of(folder).open("w") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
    except OSError as error:
        raise UserError(f"The folder {folder.parent} cannot be written to: {error.strerror}.") from None


def arm(arguments: list[str]) -> int:
    """What an arm's process does: `isotherm train`, and it stops as by SIGTERM when the demo is no more."""
    from isotherm import cli

    threading.Thread(target=outlive_nobody, daemon=True).start()
    return cli.main(["train", *arguments])


def outlive_nobody() -> None:
    """Nothing is written into the arm's input, so it ends when the demo does, be it by SIGKILL."""
    while os.read(0, 1):
        pass
    signal.raise_signal(signal.SIGTERM)


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def finish(processes: list[subprocess.Popen[Any]]) -> None:
    """Ends the arms that still run: each finishes its step and saves. Being asked once more is passed on to them."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    try:
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        finish(processes)


def failure(folders: list[Path], processes: list[subprocess.Popen[Any]]) -> str:
    folder = next(f for f, p in zip(folders, processes, strict=True) if p.returncode)
    log = log_of(folder)
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    return f"The arm in {folder} ended early: {lines[-1].removeprefix('isotherm: ')} (its output is in {log})"


if __name__ == "__main__":
    sys.exit(arm(sys.argv[1:]))
