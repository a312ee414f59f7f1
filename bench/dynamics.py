"""Which estimate of the change of entropy agrees with the change itself: correlations over methods and seeds.

python bench/dynamics.py --seeds 5
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import isotherm
from isotherm.files import write_whole
from isotherm.measure import dynamics
from isotherm.update import loop
from isotherm.update import step as update
from isotherm.update.environment import describe

METHODS = ("grpo", "clip_higher + par", "kl_cov")
SHOWN = ("pearson", "spearman", "slope", "relative_error", "held_out")


TIMED = {
    dynamics: ("covariance", "published", "released", "printed", "exact", "push"),
    update: ("observed",),
    loop: ("before", "after", "optimizer_step"),
    loop.Trainer: ("step",),
}


class Timed:
    """A function, how often it was called, and the CPU seconds of its calls."""

    def __init__(self, call: Any) -> None:
        self.call, self.seconds, self.calls = call, 0.0, 0


def counting(timed: Timed) -> Any:
    def call(*arguments: Any, **keywords: Any) -> Any:
        begun = time.process_time()
        found = timed.call(*arguments, **keywords)
        timed.seconds += time.process_time() - begun
        timed.calls += 1
        return found

    return call


@contextmanager
def timed() -> Iterator[dict[str, Timed]]:
    """Every function of TIMED counted where it is called, by its name."""
    found = {(module, name): Timed(getattr(module, name)) for module, names in TIMED.items() for name in names}
    try:
        for (module, name), call in found.items():
            setattr(module, name, counting(call))
        yield {name: call for (_, name), call in found.items()}
    finally:
        for (module, name), call in found.items():
            setattr(module, name, call.call)


def one(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The agreement of a run's predictions, where its entropy went, and what measuring cost."""
    out = options.runs / f"{METHODS.index(method)}-seed{seed}"
    with timed() as calls:
        run = isotherm.train(
            method=method, seed=seed, steps=options.steps, measure_every=options.every, eval_problems=0, out=str(out),
            dtype="float32", quiet=True,
        )  # fmt: skip
    measure = calls["before"].seconds + calls["after"].seconds
    rest = calls["step"].seconds - measure
    cost = {
        "always": calls["observed"].seconds / rest,
        "measured_step": (measure / len(run.measured_steps)) / (rest / options.steps),
    }
    cost |= {f"{name}_ms": 1e3 * call.seconds / call.calls for name, call in calls.items()}
    split = {by: run.attribution(by).to_pylist() for by in ("sign", "quadrant", "quadrant_published", "covariance")}
    return {"method": method, "seed": seed, "cost": cost, "agreement": run.dynamics().to_pylist(), "attribution": split}


def interval(values: list[float]) -> str:
    """Mean and a 95 % bootstrap interval of the mean, over seeds."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean(values):6.3f} [{low:6.3f}, {high:6.3f}]"


def show(found: list[dict[str, Any]]) -> None:
    for method in METHODS:
        runs = [r for r in found if r["method"] == method]
        print(f"{method}\n  {'':<22}" + "".join(f"{name:<25}" for name in SHOWN))
        for rows in zip(*(r["agreement"] for r in runs), strict=True):
            texts = (f"{interval([row[name] for row in rows]):<25}" for name in SHOWN)
            print(f"  {rows[0]['level']:<7}{rows[0]['estimator']:<15}" + "".join(texts))
    for name, text in (("always", "always on, share of a step"), ("measured_step", "a measured step, in steps")):
        print(f"{text}: {interval([r['cost'][name] for r in found])}")
    for name in found[0]["cost"]:
        if name.endswith("_ms"):
            print(f"{name.removesuffix('_ms'):<15} {interval([r['cost'][name] for r in found])} ms per update")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/dynamics"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/dynamics.json"))
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        for method in METHODS:
            begun = time.monotonic()
            found.append(one(method, seed, options))
            print(f"{method}, seed {seed}: {time.monotonic() - begun:.0f} s", flush=True)
    show(found)
    result = {"steps": options.steps, "every": options.every, "runs": found, "environment": describe()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
