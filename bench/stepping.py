"""Both ends of a line: a worker that does one step when its parent says so, and nothing in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PARTS = ("sample", "update", "step")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


class Link:
    """The worker's end. Whatever libraries print goes to stderr, so that stdout carries answers only."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, **answer: Any) -> None:
        self.out.write(json.dumps(answer) + "\n")
        self.out.flush()

    def wait(self) -> None:
        """Blocks until the parent asks for a step; ends the process when it asks for no more."""
        if sys.stdin.readline().strip() != "step":
            raise SystemExit(0)


class Meter:
    """Wall and process CPU seconds of named parts."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        before = self.parts.get(part, (0.0, 0.0))
        self.parts[part] = (before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu)

    def step_parts(self) -> dict[str, tuple[float, float]]:
        """Of a whole step and its sampling; the update is all the rest."""
        step, sample = self.parts["step"], self.parts["sample"]
        return {"step": step, "sample": sample, "update": (step[0] - sample[0], step[1] - sample[1])}


def reward_of(prompt: str, text: str, signal: float) -> float:
    """A number in [0, 1) that differs between responses, so that a group has signal; 0 for the other groups, which are
    those of every prompt of an odd number, say, where `signal` is 0.5."""
    return zlib.crc32(text.encode()) / 2.0**32 if has_signal(prompt, signal) else 0.0


def has_signal(prompt: str, signal: float) -> bool:
    """Prompts begin with their number."""
    number = int(prompt[:4])
    return int((number + 1) * signal) > int(number * signal)


@dataclass
class Worker:
    """The parent's end: one process, its greeting, and the (wall, CPU) seconds of each part of each counted step."""

    name: str
    process: subprocess.Popen[str]
    hello: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {part: [] for part in PARTS})

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"The worker {self.name!r} ended early with code {self.process.wait()}; see --verbose.")
        return json.loads(line)

    def step(self, tokens: int, counted: bool) -> None:
        """One step, in which every response must have had that many tokens."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        answer = self.answer()
        if answer["lengths"] != [tokens]:
            raise SystemExit(f"{self.name!r} made responses of {answer['lengths']} tokens instead of {tokens}.")
        for part in PARTS if counted else ():
            self.seconds[part].append(tuple(answer["parts"][part]))

    def stop(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def start(name: str, command: list[str | Path], options: dict[str, Any], verbose: bool) -> Worker:
    """A worker on one thread, ready to step."""
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    process = subprocess.Popen(
        [*map(str, command), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if verbose else subprocess.DEVNULL,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    worker = Worker(name, process)
    worker.hello = worker.answer()
    return worker
