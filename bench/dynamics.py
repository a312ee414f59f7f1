"""Which estimate of the change of entropy agrees with the change itself: correlations over methods and seeds.

python bench/dynamics.py --seeds 5
python bench/dynamics.py --seeds 5 --parameters --methods grpo  # and where the change came from, in both spaces
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import isotherm
from isotherm.files import write_whole
from isotherm.measure import dynamics
from isotherm.update import loop, measuring
from isotherm.update import step as update
from isotherm.update.environment import describe

METHODS = ("grpo", "clip_higher + par", "kl_cov")
SPLITS = ("sign", "quadrant", "quadrant_published", "covariance")
PARTS = {"predicted": 1e6, "measured": 1e3, "plain_step": 1e6, "adam_step": 1e3}
SPACES = {"sign": 1e6, "plain_step": 1e6, "adam_step": 1e3}
SHOWN = ("pearson", "spearman", "slope", "relative_error", "held_out")


TIMED = {
    dynamics: ("covariance", "published", "released", "printed", "exact", "push"),
    update: ("observed",),
    loop: ("before", "after", "optimizer_step"),
    measuring: ("parts", "exact_change"),
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
    space = "parameters" if options.parameters else "logits"
    out = options.runs / f"{options.methods.index(method)}-seed{seed}-{space}"
    with timed() as calls:
        run = isotherm.train(
            method=method, seed=seed, steps=options.steps, measure_every=options.every, measure_in=space,
            eval_problems=0, out=str(out), dtype="float32", quiet=True,
        )  # fmt: skip
    exactly = calls["parts"].seconds + calls["exact_change"].seconds
    measure = calls["before"].seconds + calls["after"].seconds
    rest = calls["step"].seconds - measure
    steps = len(run.measured_steps) * rest / options.steps  # CPU seconds of as many steps without any measuring
    cost = {
        "always": calls["observed"].seconds / rest,
        "measured_step": (measure - exactly) / steps,
        "parameters": exactly / steps,
    }
    cost |= {f"{name}_ms": 1e3 * call.seconds / max(1, call.calls) for name, call in calls.items()}
    split = {by: run.attribution(by).to_pylist() for by in SPLITS}
    found = {
        "method": method,
        "seed": seed,
        "cost": cost,
        "agreement": run.dynamics().to_pylist(),
        "attribution": split,
        "entropy": run.ends("entropy/exact", 5),
    }
    if options.parameters:
        found["in_parameters"] = {by: run.attribution(by, space).to_pylist() for by in SPLITS}
        found["change"] = {name: run.ends(f"method/{name}", options.steps)[1] for name in ("change", "change_exact")}
        found["thirds"] = thirds(run)
        found["momentum"] = float(np.nanmean(run.metrics["dynamics/adam_step/momentum"]))
    return found


def interval(values: list[float]) -> str:
    """Mean and a 95 % bootstrap interval of the mean, over seeds."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean(values):6.3f} [{low:6.3f}, {high:6.3f}]"


def show_parts(runs: list[dict[str, Any]], by: str) -> None:
    """What each label has of the change of entropy per update: at the logits, measured, and in the parameters."""
    rows = [
        here | there
        for r in runs
        for here, there in zip(r["attribution"][by], r["in_parameters"][by], strict=True)
    ]  # fmt: skip
    print(f"  {by:<22}" + "".join(f"{f'{name}, {1 / scale:g} nats':<28}" for name, scale in PARTS.items()))
    for label in sorted({row[by] for row in rows}):
        values = ([scale * row[name] for row in rows if row[by] == label] for name, scale in PARTS.items())
        print(f"  {label:<22}" + "".join(f"{interval(v):<28}" for v in values))


def thirds(run: Any) -> dict[str, list[float]]:
    """The parts by sign, per update, in each third of the measured steps."""
    at = np.isin(run.metrics["step"], run.measured_steps)
    names = (f"dynamics/{space}/{name}" for space in SPACES for name in ("negative", "positive"))
    return {name: [float(x.mean()) for x in np.array_split(run.metrics[name][at], 3)] for name in names}


def show_thirds(runs: list[dict[str, Any]]) -> None:
    print("  by thirds of the run")
    for name in runs[0]["thirds"]:
        scale = SPACES[name.split("/")[1]]
        values = ([scale * r["thirds"][name][k] for r in runs] for k in range(3))
        print(f"  {f'{name}, {1 / scale:g} nats':<44}" + "".join(f"{interval(v):<28}" for v in values))


def show_parameters(runs: list[dict[str, Any]]) -> None:
    for by in ("sign", "quadrant", "covariance"):
        show_parts(runs, by)
    show_thirds(runs)
    for name in ("change", "change_exact"):
        print(f"  method/{name}: {interval([r['change'][name] for r in runs])}")
    print(f"  momentum in adam_step, 0.001 nats: {interval([1e3 * r['momentum'] for r in runs])}")


def show(found: list[dict[str, Any]], methods: Sequence[str]) -> None:
    for method in methods:
        runs = [r for r in found if r["method"] == method]
        print(f"{method}\n  {'':<22}" + "".join(f"{name:<25}" for name in SHOWN))
        for rows in zip(*(r["agreement"] for r in runs), strict=True):
            texts = (f"{interval([row[name] for row in rows]):<25}" for name in SHOWN)
            print(f"  {rows[0]['level']:<7}{rows[0]['estimator']:<15}" + "".join(texts))
        print(f"  entropy, last 5 steps: {interval([r['entropy'][1] for r in runs])}")
        if "in_parameters" in runs[0]:
            show_parameters(runs)
    shown = {
        "always": "always on, share of a step",
        "measured_step": "a measured step, in steps",
        "parameters": "and in the parameters, in steps",
    }
    for name, text in shown.items():
        print(f"{text}: {interval([r['cost'][name] for r in found])}")
    for name in found[0]["cost"]:
        if name.endswith("_ms"):
            print(f"{name.removesuffix('_ms'):<15} {interval([r['cost'][name] for r in found])} ms per update")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--parameters", action="store_true", help="attribute in the space of the parameters as well")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/dynamics"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/dynamics.json"))
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        for method in options.methods:
            begun = time.monotonic()
            found.append(one(method, seed, options))
            print(f"{method}, seed {seed}: {time.monotonic() - begun:.0f} s", flush=True)
    show(found, options.methods)
    result = {"steps": options.steps, "every": options.every, "runs": found, "environment": describe()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
