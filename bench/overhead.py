"""What each method costs beyond plain GRPO: CPU time and peak memory of whole steps of a default run, side by side.

    python bench/overhead.py --out bench/results/overhead.json
    python bench/overhead.py --rows kl_cov,siren --rounds 41 --settings whole

Every step begins with the same weights, moments and rollout; its sampling is timed once and added. Methods and GRPO
take turns in one process, on one thread. What is counted, and in which settings: bench/README.md.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import gc
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from scipy.stats import binom
from torch.profiler import ProfilerActivity, profile, record_function

from isotherm.objective.compose import method
from isotherm.objective.method import Method
from isotherm.objective.published import METHODS
from isotherm.policy.model import load_policy
from isotherm.records import Rollout
from isotherm.update import precision
from isotherm.update.clock import Clock
from isotherm.update.config import Config
from isotherm.update.folder import RunFolder
from isotherm.update.loop import Trainer, wants_reference
from isotherm.update.train import build
from trl_compare import commit, processor

MIB, WARM, LIMIT = 2**20, 3, 0.02
PIECES = {"micro_batch": 16}  # of the 64 responses of a mini-batch, or as many as have signal


class Setting(NamedTuple):
    """Changes of the default run, the share of the rounds that is enough, and the rows that it matters to."""

    title: str
    changes: dict[str, Any]
    share: float
    concerns: Callable[[Method], bool]


SETTINGS = {
    "whole": Setting("one micro-batch", {}, 1, lambda _: True),
    "scoring": Setting(
        "micro-batches of 16 responses, statistics of the scoring pass",
        PIECES | {"statistics": "scoring"},
        1,
        lambda m: m.needs_current and not m.always_current,
    ),
    "rescored": Setting(
        "micro-batches of 16 responses, re-scored for exact statistics", PIECES, 0.3, lambda m: m.needs_current
    ),
}


class Frozen(Trainer):
    """Trains on one rollout again and again."""

    rollout: Rollout

    def sample(self, step: int) -> tuple[Rollout, int]:
        return self.rollout, 0


class UpdateMarks(Clock):
    """Marks the updates among the profiler's events."""

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        with record_function(part):
            yield


class Table:
    """A trainer of each row in one setting; all share the policy and the optimizer, put back before every step."""

    def __init__(self, names: list[str], changes: dict[str, Any], dtype: str, kernels: str) -> None:
        self.settings = precision.choose(dtype, 1, 128, "cpu", kernels)
        self.settings.use()
        with tempfile.TemporaryDirectory() as folder:
            config = Config(measure_every=0, **changes)
            first = build(config, RunFolder(Path(folder)), self.settings, print)[0]
        for _ in range(WARM):
            first.step(Clock())
        self.rollout = first.sample(WARM + 1)[0]
        self.sampling = median(seconds(lambda: first.sample(WARM + 1)) for _ in range(5 * WARM))
        held = [x for p, s in first.optimizer.state.items() for x in (p, *s.values())]
        self.held = [(x, x.detach().clone()) for x in held]
        self.trainers = {name: self.trainer(name, first) for name in ("grpo", *names)}
        self.states: dict[str, dict[str, Any]] = {}
        for name, trainer in self.trainers.items():
            self.states[name] = copy.deepcopy(trainer.state)
            self.step(name, Clock())
            self.states[name] = trainer.state  # with the anchors that methods keep from their first step
        gc.collect()
        gc.freeze()

    def trainer(self, name: str, first: Trainer) -> Frozen:
        chosen = method(name)
        reference = load_policy(first.config.model, self.settings.compute) if wants_reference(chosen) else None
        state = first.state | {"controls": {c.knob: c.init() for c in chosen.controls}}
        config = dataclasses.replace(first.config, method=name)
        made = Frozen(config, chosen, first.policy, first.optimizer, first.source, reference, state)
        made.rollout = self.rollout
        return made

    def step(self, name: str, clock: Clock) -> float:
        """CPU seconds of a step without its sampling."""
        trainer = self.trainers[name]
        with torch.no_grad():
            for x, was in self.held:
                x.copy_(was)
        trainer.state = copy.deepcopy(self.states[name])
        return seconds(lambda: trainer.step(clock))

    def peaks(self, name: str) -> dict[str, float]:
        """MiB at the highest point of the step and of its updates; the weights of a reference stay, and are added."""
        reference = self.trainers[name].reference
        stays = sum(p.nbytes for p in reference.parameters().values()) if reference else 0
        return {part: (stays + top) / MIB for part, top in peaks_of(lambda: self.step(name, UpdateMarks())).items()}


def peaks_of(run: Callable[[], Any]) -> dict[str, int]:
    """Most bytes held at once, above the start, in the whole run and within what is marked as an update.

    Counted is what torch's CPU allocator hands out, the compiled functions' buffers among it; not numpy, not Python.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    events: list[Any] = found.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    spans = [(e.start_ns(), e.end_ns()) for e in events if e.name() == "update"]
    moves = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    del found, events
    gc.collect()  # tens of MB in cycles
    held = list(zip([at for at, _ in moves], accumulate(size for _, size in moves), strict=True))
    updates = [now for at, now in held if any(begin <= at <= end for begin, end in spans)]
    return {"step": max(now for _, now in held), "update": max(updates, default=0)}


def seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def times(table: Table, names: list[str], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(GRPO, method) of every round: GRPO between two methods, whose order is drawn anew each time."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    draw = random.Random(0)
    for _ in range(rounds):
        order = draw.sample(names, len(names))
        for pair in (order[i : i + 2] for i in range(0, len(order), 2)):
            first, plain, *second = [table.step(name, Clock()) for name in (pair[0], "grpo", *pair[1:])]
            for name, its in zip(pair, (first, *second), strict=True):
                found[name].append((plain, its))
    return found


def overhead(pairs: list[tuple[float, float]], sampling: float) -> dict[str, float]:
    """Median of (method - GRPO) / whole step of GRPO, between order statistics that hold it with 95 %: with fewer than
    six rounds, between the extremes."""
    ratios = sorted((its - plain) / (plain + sampling) for plain, its in pairs)
    cut = max(1, int(binom.ppf(0.025, len(ratios), 0.5)))
    return {"time": median(ratios), "low": ratios[cut - 1], "high": ratios[-cut]}


def measure(setting: str, names: list[str], a: argparse.Namespace) -> dict[str, Any]:
    chosen = SETTINGS[setting]
    names, rounds = [name for name in names if chosen.concerns(method(name))], math.ceil(chosen.share * a.rounds)
    table = Table(names, chosen.changes, a.dtype, a.kernels)
    plain = table.peaks("grpo")
    resident = sum(was.nbytes for _, was in table.held) / MIB
    rows = {}
    for name, pairs in times(table, names, rounds).items():
        peaks = table.peaks(name)
        more = {f"memory_{part}": peaks[part] - plain[part] for part in plain}
        rows[name] = overhead(pairs, table.sampling) | more | {"apart": apart(method(name), setting)}
        rows[name]["grpo"], rows[name]["method"] = (median(column) for column in zip(*pairs, strict=True))
    tokens = int(table.rollout.length.sum())
    return {"changes": chosen.changes, "rounds": rounds, "tokens": tokens, "sampling": table.sampling,
            "resident": resident, "peak": plain, "rows": rows}  # fmt: skip


def apart(chosen: Method, setting: str) -> str:
    """Why a row is no matter of deciding and of the loss alone."""
    reasons = {
        "reference": wants_reference(chosen),
        "functional": bool(chosen.functionals),
        "re-scored": setting == "rescored",
    }
    return ", ".join(name for name, holds in reasons.items() if holds)


def show(setting: str, found: dict[str, Any]) -> None:
    rows, peak = found["rows"], found["peak"]
    step = 1e3 * (found["sampling"] + median(row["grpo"] for row in rows.values()))
    print(f"\n{SETTINGS[setting].title}: GRPO's step {step:.0f} ms, {1e3 * found['sampling']:.0f} of it sampling; "
          f"{peak['step']:.1f} MiB at its peak, {peak['update']:.1f} in its updates, beside {found['resident']:.1f} of "
          f"weights and moments; {found['tokens']} tokens")  # fmt: skip
    print(f"  {'':18}{'time':>8}{'median within':>20}{'MiB, step':>12}{'update':>9}")
    for name, r in sorted(rows.items(), key=lambda item: -item[1]["time"]):
        within = f"{r['low']:.1%} to {r['high']:.1%}"
        memory = f"{r['memory_step']:12.2f}{r['memory_update']:9.2f}"
        print(f"  {name:18}{r['time']:8.1%}{within:>20}{memory}  {r['apart']}", flush=True)
    for reason in sorted({row["apart"] for row in rows.values()}):
        some = {name: row["time"] for name, row in rows.items() if row["apart"] == reason}
        above = ", ".join(name for name, time in some.items() if time > LIMIT)
        print(f"  {reason or 'deciding and loss'}: {len(some)} rows, median {median(some.values()):.1%}, largest "
              f"{max(some.values()):.1%}; above {LIMIT:.0%}: {above or 'none'}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(METHODS), help="methods, separated by commas; default: all")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--kernels", choices=("compiled", "plain"), default="compiled")
    parser.add_argument("--out", type=Path, help="write the result here as JSON")
    a = parser.parse_args()
    names, settings = a.rows.split(","), a.settings.split(",")
    for given, known in ((names, METHODS), (settings, SETTINGS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"there is no {unknown[0]!r}; choose among {', '.join(known)}")
    if a.rounds < 1:
        parser.error("--rounds must be at least 1")
    for setting in settings:
        before, begun = os.getloadavg()[0], time.monotonic()
        found = measure(setting, names, a)
        load, took = [before, os.getloadavg()[0]], time.monotonic() - begun
        show(setting, found)
        said = f"{took:.0f} s; load {load[0]:.1f} before, {load[1]:.1f} after"
        print(f"  {processor()}, 1 thread; {said}; commit {commit()}", flush=True)
        if a.out:
            known = json.loads(a.out.read_text()) if a.out.exists() else {}
            result = {"cpu": processor(), "commit": commit(), "load": load, **found}
            a.out.parent.mkdir(parents=True, exist_ok=True)
            a.out.write_text(json.dumps(known | {setting: result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
