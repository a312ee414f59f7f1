"""Where a step's time goes: over its own matrix products, for methods and diagnostics, and as everything grows.

    python bench/step.py floor             # a whole step over the bfloat16 products that it consists of
    python bench/step.py methods           # what deciding, the loss and the telemetry of each method add
    python bench/step.py profile           # where each millisecond goes
    python bench/step.py growth            # against responses, length, parameters, vocabulary; with fitted exponents

Process CPU seconds on one thread, medians; models and steps as in `trl_compare.py`. --out writes JSON as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F

from isotherm import native
from isotherm.measure.dynamics import observed
from isotherm.objective.compose import method
from isotherm.objective.method import decide, loss
from isotherm.objective.published import METHODS
from isotherm.objective.telemetry import telemetry
from isotherm.records import Tokens
from isotherm.update import loop
from isotherm.update.loop import wants_reference
from isotherm_worker import MeterClock, build
from random_model import SIZES, make_model, make_prompts
from trl_compare import GROUP, LR, NEW, PROMPT_LENGTH, PROMPTS, commit, processor

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def cpu(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def trainer_of(folder: Path, a: argparse.Namespace, **changes: Any):
    """A trainer on a random model of some width, layers and vocabulary, and with some number of prompts and tokens."""
    width, layers = SIZES[changes.pop("size", "0.5M")]
    make_model(folder, width, layers, changes.pop("words", 0))
    make_prompts(folder, PROMPT_LENGTH)
    options = {"prompts": PROMPTS, "group": GROUP, "new": NEW, "lr": LR, "signal": 1.0}
    common = {"model": folder, "dtype": a.dtype, "kernels": a.kernels, "width": width}
    return build(argparse.Namespace(**common, **(options | changes)))[0]


def step_seconds(trainer: Any, rounds: int, warm: int = 3) -> list[float]:
    return [cpu(lambda: trainer.step(MeterClock())) for _ in range(warm + rounds)][warm:]


def products(trainer: Any) -> list[tuple[int, int, int, int]]:
    """(how often, rows, depth, columns) of the products of a step: decoding, forward, and both gradients."""
    s, count = trainer.policy.module.shape, trainer.config
    rows, tokens = count.prompts * count.group, count.prompts * (PROMPT_LENGTH + count.group * (count.max_new - 1))
    inner, mixed = (s.heads + 2 * s.kv_heads) * s.head_width, s.heads * s.head_width
    matrices = [(s.width, inner), (mixed, s.width), (s.width, 2 * s.mlp), (s.mlp, s.width)]
    found = []
    for depth, columns in matrices:
        found.append((s.layers * (count.max_new - 1), rows, depth, columns))
        found += [(s.layers, tokens, depth, columns), (s.layers, tokens, columns, depth)]
        found.append((s.layers, columns, tokens, depth))
    answered = rows * count.max_new
    head = [(answered, s.width, s.vocab), (answered, s.vocab, s.width), (s.vocab, answered, s.width)]
    return [*found, (count.max_new, rows, s.width, s.vocab), *((1, *shape) for shape in head)]


def floor(a: argparse.Namespace) -> dict[str, Any]:
    """In turns: a step, and then its products alone between buffers that are there already."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(Path(folder), a, size=a.size)
        shapes = products(trainer)
        buffers = [
            (torch.randn(m, k).to(DTYPES[a.dtype]), torch.randn(n, k).to(DTYPES[a.dtype])) for _, m, k, n in shapes
        ]
        step_seconds(trainer, 0)
        steps, floors = [], []
        for number in range(a.rounds + 1):
            taken = cpu(lambda: trainer.step(MeterClock()))
            bare = sum(
                times * median(cpu(lambda x=x, w=w: x @ w.T) for _ in range(5))
                for (times, *_), (x, w) in zip(shapes, buffers, strict=True)
            )
            if number:
                steps.append(taken)
                floors.append(bare)
    ratio = median(x / y for x, y in zip(steps, floors, strict=True))
    work = sum(2 * times * m * k * n for times, m, k, n in shapes)
    print(f"{a.size}, {a.dtype}: step {1e3 * median(steps):.0f} ms, its products {1e3 * median(floors):.0f} ms "
          f"({work / median(floors) / 1e9:.0f} GF/s): {ratio:.2f} times the floor")  # fmt: skip
    return {"size": a.size, "step": steps, "floor": floors, "ratio": ratio}


def methods(a: argparse.Namespace) -> dict[str, Any]:
    """Deciding, the loss with its gradient, and all diagnostics, on the tokens of a step, over the step's time.

    What scoring a functional of the whole distribution costs (siren, aent, lp_reg) is not in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(Path(folder), a, size=a.size)
        step = median(step_seconds(trainer, a.rounds))
        rollout, _ = trainer.sample(10**6)
        tokens = trainer.prepare(rollout, trainer.temperature)[1]
    found = {}
    for name in METHODS:
        chosen = method(name)
        part = with_reference(tokens) if wants_reference(chosen) else tokens
        part = dataclasses.replace(part, extra=dict.fromkeys(chosen.functionals, part.entropy))
        found[name] = median(cpu(lambda c=chosen, t=part: objective(c, t)) for _ in range(5 * a.rounds))
    print(f"{a.size}, {a.dtype}: step {1e3 * step:.0f} ms, {len(tokens)} tokens")
    for name, seconds in found.items():
        print(f"  {name:22}{1e6 * seconds:8.0f} us {100 * seconds / step:6.2f} % of a step, diagnostics included")
    return {"size": a.size, "step": step, "seconds": found}


def with_reference(tokens: Tokens) -> Tokens:
    return dataclasses.replace(tokens, ref_logprob=tokens.logprob)


def objective(chosen: Any, tokens: Tokens) -> None:
    leaves = {name: getattr(tokens, name).detach().clone().requires_grad_() for name in ("logprob", "entropy")}
    current = dataclasses.replace(tokens, **leaves)
    decision = decide(current, chosen)
    loss(current, chosen, decision).backward()
    telemetry(current.detach(), chosen, decision)
    observed(current.detach(), chosen, decision, lr=1e-4, temperature=1.0)


class Watch:
    """Seconds and calls of functions, by name; what a watched function calls itself counts for it alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.inside = 0.0  # of watched functions within the one that is running

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            outer, self.inside, started = self.inside, 0.0, time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                taken = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + taken - self.inside
                self.calls[name] = self.calls.get(name, 0) + 1
                self.inside = outer + taken

        return watched


def profile(a: argparse.Namespace) -> dict[str, Any]:
    """Steps with the compiled functions, torch's products and some larger pieces of Python under watch."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        trainer = trainer_of(Path(folder), a, size=a.size)
        step_seconds(trainer, 0)
        real = native.call
        stack.enter_context(patch.object(native, "call", lambda name, *x: watch.timed(name, real)(name, *x)))
        for place, name in ((torch, "bmm"), (F, "linear"), (torch.Tensor, "__matmul__"), (torch.Tensor, "backward")):
            stack.enter_context(patch.object(place, name, watch.timed(name, getattr(place, name))))
        for place in (loop.collect, loop.optimizer_step, loop.score_all):
            name = place.__name__
            stack.enter_context(patch.object(loop, name, watch.timed(f"{name}, the rest of it", place)))
        taken = [cpu(lambda: trainer.step(MeterClock())) for _ in range(a.rounds)]
    step = sum(taken) / a.rounds
    print(f"{a.size}, {a.dtype}, {a.kernels}: {1e3 * step:.1f} ms a step")
    rows = sorted(watch.seconds.items(), key=lambda row: -row[1])
    for name, seconds in rows:
        print(f"  {name:32}{1e3 * seconds / a.rounds:8.2f} ms{watch.calls[name] / a.rounds:8.0f} calls")
    rest = step - sum(watch.seconds.values()) / a.rounds
    print(f"  {'everything else':32}{1e3 * rest:8.2f} ms")
    return {"step": step, "milliseconds": {name: 1e3 * seconds / a.rounds for name, seconds in rows}}


def growth(a: argparse.Namespace) -> dict[str, Any]:
    """One thing grows, the others stay; the exponent is the slope of log seconds against log size."""
    series: dict[str, list[dict[str, Any]]] = {
        "responses": [{"prompts": n, "at": n * GROUP} for n in (4, 8, 16, 32)],
        "tokens of a response": [{"new": n, "at": n} for n in (32, 64, 128, 256)],
        "parameters": [{"size": size, "at": 0} for size in ("0.14M", "0.5M", "4M")],
        "words": [{"words": n, "at": n} for n in (1024, 4096, 16384)],
    }
    found = {}
    for name, cases in series.items():
        points = []
        for case in cases:
            options = {key: value for key, value in case.items() if key != "at"}
            with tempfile.TemporaryDirectory() as folder:
                trainer = trainer_of(Path(folder), a, **options)
                size = case["at"] or sum(p.numel() for p in trainer.policy.parameters().values())
                points.append((size, median(step_seconds(trainer, a.rounds))))
        found[name] = {"points": points, "exponent": slope(points)}
        row = ", ".join(f"{size:,}: {1e3 * seconds:.0f} ms" for size, seconds in points)
        print(f"{name:22}{row}; exponent {found[name]['exponent']:.2f}")
    return found


def slope(points: list[tuple[int, float]]) -> float:
    x, y = ([math.log(value) for value in column] for column in zip(*points, strict=True))
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((u - mx) * (v - my) for u, v in zip(x, y, strict=True)) / sum((u - mx) ** 2 for u in x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("floor", "methods", "profile", "growth"))
    parser.add_argument("--size", choices=SIZES, default="4M")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--kernels", choices=("compiled", "plain"), default="compiled")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the result here as JSON")
    a = parser.parse_args()
    if a.rounds < 1:
        parser.error("--rounds must be at least 1")
    before = os.getloadavg()[0]
    result = {"floor": floor, "methods": methods, "profile": profile, "growth": growth}[a.what](a)
    print(f"{processor()}, 1 thread; load {before:.1f} before, {os.getloadavg()[0]:.1f} after; commit {commit()}")
    if a.out:
        known = json.loads(a.out.read_text()) if a.out.exists() else {}
        result = {"cpu": processor(), "commit": commit(), "load": [before, os.getloadavg()[0]], "result": result}
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(known | {f"{a.what} {a.kernels}": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
