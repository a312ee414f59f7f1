"""Which estimate of the change of entropy agrees with the change itself: correlations over methods and seeds.

python bench/dynamics.py --seeds 5
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import isotherm
from isotherm.files import write_whole
from isotherm.update import step as update
from isotherm.update.environment import describe

METHODS = ("grpo", "clip_higher + par", "kl_cov")
SHOWN = ("pearson", "spearman", "slope", "relative_error", "held_out")


class Timed:
    """A function that adds up the seconds that its calls take."""

    def __init__(self, call: Any) -> None:
        self.call, self.seconds = call, 0.0

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        begun = time.perf_counter()
        found = self.call(*arguments, **keywords)
        self.seconds += time.perf_counter() - begun
        return found


def one(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The agreement of a run's predictions, where its entropy went, and what measuring cost."""
    out = options.runs / f"{METHODS.index(method)}-seed{seed}"
    plain, update.observed = update.observed, Timed(update.observed)
    try:
        run = isotherm.train(
            method=method, seed=seed, steps=options.steps, measure_every=options.every, eval_problems=0, out=str(out),
            quiet=True,
        )  # fmt: skip
        always = update.observed.seconds
    finally:
        update.observed = plain
    whole, measure = (float(np.nansum(run.timings[f"{name}seconds"])) for name in ("", "measure_"))
    rest, steps = whole - measure, len(run.measured_steps)
    cost = {"always": always / rest, "measured_step": (measure / steps) / (rest / options.steps)}
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
