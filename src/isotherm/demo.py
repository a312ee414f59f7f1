"""Two arms of one seed, each on a core of its own, side by side; then one report."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from isotherm.api import folder_of
from isotherm.errors import UserError
from isotherm.report.page import write_report
from isotherm.report.summary import sentences
from isotherm.report.watch import watch
from isotherm.runs import load_run
from isotherm.update.config import Config, override

BASE, OTHER = "grpo", "kl_cov(k=0.2, beta=3)"


def arms(config: Config) -> list[Config]:
    """GRPO and the intervention with the same settings and seed, one thread each."""
    other = config.method if config.method != BASE else OTHER
    root = Path(config.out or "runs/demo")
    both = [override(config, {"method": m, "threads": 1, "out": ""}) for m in (BASE, other)]
    return [override(c, {"out": str(root / folder_of(c).name)}) for c in both]


def run(config: Config, arguments: list[str]) -> int:
    """`arguments` are the user's own, passed on to each arm."""
    configs, started = arms(config), time.monotonic()
    folders = [folder_of(c) for c in configs]
    processes = [launch(c, f, arguments) for c, f in zip(configs, folders, strict=True)]
    try:
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


def launch(config: Config, folder: Path, arguments: list[str]) -> subprocess.Popen[Any]:
    """One arm as a process of its own, what it prints in a log beside its folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    own = ["--method", config.method, "--threads", "1", "--out", str(folder)]
    command = [sys.executable, "-m", "isotherm", "train", *arguments, *own]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log_of(folder).open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def finish(processes: list[subprocess.Popen[Any]]) -> None:
    """Ends the arms that still run: each finishes its step and saves."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()


def failure(folders: list[Path], processes: list[subprocess.Popen[Any]]) -> str:
    folder = next(f for f, p in zip(folders, processes, strict=True) if p.returncode)
    log = log_of(folder)
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    return f"The arm in {folder} ended early: {lines[-1].removeprefix('isotherm: ')} (its output is in {log})"
