"""Kills a training run at many moments, starts it again, and compares what comes out with a run that nobody disturbed.

    python bench/kill.py --kills 200

Python's own call events count the moments of a run: a run of this seed always has the same ones, so "die at the n-th
event within the publishing of a checkpoint" is a place that can be drawn at random. Every tenth kill comes from
outside, at a random time, which also falls inside matrix products and system calls; the last ones hit the real command.
Nothing in the package is patched. After each kill the same call is made again, and every third time killed again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch

from isotherm.api import train
from isotherm.policy.decoder import Decoder, Shape
from isotherm.policy.pretrain import write_model
from isotherm.policy.text import Text, character_tokenizer
from isotherm.update import checkpoint
from isotherm.update import step as step_module
from isotherm.update import train as train_module
from isotherm.update.loop import Trainer

STEPS, EVERY = 14, 3
SETTINGS: dict[str, Any] = {
    "method": "reinforce_pp + par(schedule=guided)", "train": "chain:1,subset:1", "held_out": "fill:1", "prompts": 4,
    "group": 4, "max_new": 16, "signal": "keep", "overlong": "soft", "overlong_buffer": 14, "steps": STEPS,
    "updates": 2, "lr": 0.01, "schedule": "cosine", "dtype": "float32", "eval_every": 5, "eval_problems": 2,
    "eval_samples": 2, "eval_k": (1, 2), "save_every": EVERY,
}  # fmt: skip
PHASES = {
    id(Trainer.sample.__code__): "sampling",
    id(Trainer.prepare.__code__): "scoring",
    id(step_module.optimizer_step.__code__): "updating",
    id(train_module.publish.__code__): "publishing",
}
STEP, RUN = id(Trainer.step.__code__), id(train_module.run.__code__)
IN_STEPS = ("sampling", "scoring", "updating")
ELSE = "between them"  # start, resume, evaluation, logging, report
PLACES = (*IN_STEPS, "publishing", ELSE)
PATTERN = (
    *("sampling", "publishing", "updating", "scoring", "publishing"),
    *("updating", ELSE, "sampling", "publishing", "time"),
)
OWN = ("timings.jsonl", "environment.json", "report.html", "lock")  # may differ between two runs
AGAIN, LIMIT = 0.3, 120.0  # how often a run is killed once more; seconds of processor time after which it is stuck


class Place(NamedTuple):
    """Where to die: at the n-th event of a phase, or ("time", seconds)."""

    phase: str
    at: float


class Watcher:
    """Follows the calls of this process: tells the parent the phase and the steps done, and dies where it is told."""

    def __init__(self, board: np.ndarray, place: Place | None) -> None:
        self.board, self.place = board, place or Place("nowhere", 0)
        self.stack, self.count = [ELSE], Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        phase = self.stack[-1]
        self.count[phase] += 1
        if phase == self.place.phase and self.count[phase] == self.place.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if event in ("call", "return"):
            self.follow(id(frame.f_code), event)

    def follow(self, code: int, event: str) -> None:
        if code in PHASES:
            self.stack.append(PHASES[code]) if event == "call" else self.stack.pop()
            self.board[0] = PLACES.index(self.stack[-1])
        elif code == STEP and event == "return":
            self.board[1] += 1
        elif code == RUN and event == "return":
            sys.setprofile(None)  # what is left is the report, slow to watch


class Bench:
    def __init__(self, home: Path, seed: int) -> None:
        self.folder, self.model, self.rng = home / "run", home / "model", random.Random(seed)
        self.board = np.frombuffer(mmap.mmap(-1, 4096), np.int64)  # phase, steps done, events by phase
        self.settings: dict[str, Any] = SETTINGS | {"model": str(self.model), "out": str(self.folder)}
        self.references: dict[str, dict[str, bytes]] = {}
        self.events: dict[str, int] = {}  # of an undisturbed run, by phase
        self.seconds = 0.0  # that it takes
        self.kills: list[tuple[str, bool, int]] = []  # where, recovered, steps lost
        make_model(self.model)

    def attempt(self, place: Place | None) -> tuple[int, str, int]:
        """One call of `train` in a fork: its exit status (-9: killed), where it ended, and the steps it completed."""
        self.board[:2] = PLACES.index(ELSE), 0
        pid = os.fork()
        if not pid:
            self.child(place)
        if place and place.phase == "time":
            time.sleep(place.at)
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, PLACES[self.board[0]], int(self.board[1])

    def child(self, place: Place | None) -> None:
        status = 1
        try:
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            watcher = Watcher(self.board, place)
            sys.setprofile(watcher if place else None)  # an undisturbed run is spared its cost
            train(**self.settings, quiet=True)
            self.board[2 : 2 + len(PLACES)] = [watcher.count[p] for p in PLACES]
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def prepare(self) -> None:
        """Two undisturbed runs: one to learn what a run imports, one to count its moments and its seconds."""
        for name in self.modules():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self.clear()
        started = time.monotonic()
        status, _, steps = self.attempt(Place("nowhere", 0))
        assert (status, steps) == (0, STEPS), "the undisturbed run failed"
        self.seconds = time.monotonic() - started
        self.events = dict(zip(PLACES, self.board[2:].tolist(), strict=False))
        self.add_reference()

    def modules(self) -> list[str]:
        read, write = os.pipe()
        if not os.fork():
            train(**self.settings, quiet=True)
            os.write(write, json.dumps(sorted(sys.modules)).encode()[: 1 << 20])
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            return json.loads(pipe.read())

    def add_reference(self) -> None:
        found = contents(self.folder)
        norms = [json.loads(line).get("update/grad_norm", 0.0) for line in found["metrics.jsonl"].splitlines()]
        assert sum(norm > 0 for norm in norms) > STEPS // 2, f"the reference run hardly learns: {norms}"
        assert [json.loads(line)["step"] for line in found["metrics.jsonl"].splitlines()] == list(range(STEPS + 1))
        assert f"checkpoints/{checkpoint.name_of(STEPS)}/state.safetensors" in found
        self.references[precision(self.folder)] = found

    def undisturbed(self, environment: bytes) -> None:
        """A reference that multiplies as another run did."""
        self.clear()
        self.folder.mkdir()
        (self.folder / "environment.json").write_bytes(environment)
        status, _, _ = self.attempt(None)
        assert status == 0, "the undisturbed run failed"
        self.add_reference()

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def place(self, wanted: str) -> Place:
        if wanted == "time":
            return Place("time", self.rng.uniform(0, self.seconds))
        return Place(wanted, self.rng.randint(1, self.events[wanted]))

    def trial(self, wanted: str) -> None:
        """A run that is killed once or more, then left alone; what it lost and whether it ended like the reference."""
        self.clear()
        where, lost = [], []
        while True:
            disturbed = not where or self.rng.random() < AGAIN
            before = saved(self.folder)
            place = self.place(self.rng.choice(PLACES) if where else wanted) if disturbed else None
            status, phase, steps = self.attempt(place)
            if status == 0:
                break
            if status != -signal.SIGKILL:
                print(f"the run ended with status {status} while {phase}", file=sys.stderr)
                self.kills += [(w, False, n) for w, n in zip([*where, phase], [*lost, 0], strict=True)]
                return
            where, lost = [*where, phase], [*lost, before + steps - saved(self.folder)]
        good = self.same()
        self.kills += [(w, good, n) for w, n in zip(where, lost, strict=True)]

    def same(self) -> bool:
        """Byte for byte: every checkpoint, rollout and metric, and no file more or less."""
        name, found = precision(self.folder), contents(self.folder)
        if name not in self.references:
            self.undisturbed((self.folder / "environment.json").read_bytes())
        wanted = self.references[name]
        differ = sorted(f for f in wanted.keys() | found.keys() if wanted.get(f) != found.get(f))
        if differ:
            print(f"differs from the undisturbed run: {', '.join(differ)}", file=sys.stderr)
        return not differ

    def command(self) -> None:
        """Kills `python -m isotherm train` at a random time of its life, then gives the same command until it ends."""
        self.clear()
        arguments = [word for name, value in self.settings.items() for word in (f"--{name}", listed(value))]
        call = [sys.executable, "-m", "isotherm", "train", *arguments]
        with subprocess.Popen(call, stdout=subprocess.DEVNULL) as process:
            while not (self.folder / "metrics.jsonl").exists() and process.poll() is None:
                time.sleep(0.01)
            time.sleep(self.rng.uniform(0, self.seconds / 2))
            process.kill()
        lost = rows(self.folder) - saved(self.folder)
        again = subprocess.run(call, stdout=subprocess.DEVNULL)
        if process.returncode == -signal.SIGKILL:
            self.kills.append(("the command", again.returncode == 0 and self.same(), lost))


def make_model(folder: Path) -> None:
    """A small untrained decoder, its logits spread enough that some answers end early: that is what is rewarded."""
    shape = Shape(99, 16, 2, 2, 2, 8, 24, rope_theta=10_000.0, norm_eps=1e-6, bias=False, tied=True)
    decoder = Decoder(shape).init(0)
    with torch.no_grad():
        decoder.embed.mul_(10)
    write_model(decoder, Text(character_tokenizer(), (1,)), folder)


def contents(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in OWN and not p.name.endswith(".tmp")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def precision(folder: Path) -> str:
    """How a run multiplies was measured when it began; only runs that do it alike can be compared."""
    chosen = json.loads((folder / "environment.json").read_text())["precision"]
    return f"{chosen['dtype']} {chosen['matmul']} {chosen['threads']}"


def saved(folder: Path) -> int:
    found = checkpoint.latest(folder)
    return found.step if found else 0


def rows(folder: Path) -> int:
    """The last whole step in the metrics."""
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else 0


def listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def table(kills: list[tuple[str, bool, int]], seconds: float) -> bool:
    """Prints where the kills fell and what they did; whether all is as promised."""
    print(f"{'killed while':<16}{'kills':>6}{'recovered':>11}{'steps lost, most':>18}")
    groups = {name: [k for k in kills if k[0] == name] for name in (*PLACES, "the command")} | {"all": kills}
    for name, group in groups.items():
        if group:
            print(f"{name:<16}{len(group):>6}{sum(k[1] for k in group):>11}{max(k[2] for k in group):>18}")
    inside = [k for k in kills if k[0] != "the command"]
    steps, publishing = sum(k[0] in IN_STEPS for k in inside), sum(k[0] == "publishing" for k in inside)
    print(f"{seconds:.0f} s; {steps} of {len(inside)} kills in steps, {publishing} in the publishing of a checkpoint;")
    print(f"a checkpoint every {EVERY} steps, {STEPS} steps a run; compared byte for byte with an undisturbed run")
    whole = all(k[1] for k in kills) and max((k[2] for k in kills), default=0) <= EVERY
    return whole and 2 * steps >= len(inside) and 4 * publishing >= len(inside)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--commands", type=int, default=6, help="further kills, of the real command")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        bench = Bench(Path(home), options.seed)
        bench.prepare()
        trial = 0
        while len(bench.kills) < options.kills:
            bench.trial(PATTERN[trial % len(PATTERN)])
            trial += 1
            print(f"\r{len(bench.kills)} of {options.kills} kills", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        for _ in range(options.commands):
            bench.command()
    return 0 if table(bench.kills, time.monotonic() - started) else 1


if __name__ == "__main__":
    sys.exit(main())
