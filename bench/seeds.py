"""The demo's two arms over several seeds: what is left of entropy and what became of accuracy, with intervals.

python bench/seeds.py --seeds 5
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from isotherm import demo
from isotherm.api import folder_of
from isotherm.arguments import read_settings
from isotherm.files import write_whole
from isotherm.report.summary import entropy_ends
from isotherm.runs import Run, load_run
from isotherm.update.environment import describe

COLUMNS: dict[str, Callable[[Run], float]] = {
    "entropy at the start": lambda run: entropy_ends(run)[0],
    "entropy at the end": lambda run: entropy_ends(run)[1],
    "share left": lambda run: entropy_ends(run)[1] / entropy_ends(run)[0],
    "pass@1 before": lambda run: run.ends("eval/trained/pass@1")[0],
    "pass@1 after": lambda run: run.ends("eval/trained/pass@1")[1],
    "pass@16 before": lambda run: run.ends("eval/trained/pass@16")[0],
    "pass@16 after": lambda run: run.ends("eval/trained/pass@16")[1],
}


def pair(seed: int, root: Path, extra: list[str]) -> tuple[list[Run], float]:
    """Both arms of a seed side by side, and the seconds they took."""
    config, _ = read_settings(["--seed", str(seed), "--out", str(root / f"seed{seed}"), *extra])
    configs, begun = demo.arms(config), time.monotonic()
    folders = [folder_of(c) for c in configs]
    processes = [demo.launch(c, f, []) for c, f in zip(configs, folders, strict=True)]
    for process in processes:
        if process.wait():
            raise SystemExit(demo.failure(folders, processes))
    return [load_run(f) for f in folders], time.monotonic() - begun


def interval(values: np.ndarray) -> str:
    """Mean and a 95 % bootstrap interval of the mean."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/seeds.json"))
    options, extra = parser.parse_known_args()
    found: dict[str, dict[str, list[float]]] = {}
    seconds = []
    for seed in range(options.seeds):
        runs, took = pair(seed, options.runs, extra)
        seconds.append(took)
        for run in runs:
            row = found.setdefault(run.config["method"], {name: [] for name in COLUMNS})
            for name, value in COLUMNS.items():
                row[name].append(float(value(run)))
        print(f"seed {seed}: {took:.0f} s", flush=True)
    for method, row in found.items():
        print(method)
        for name, values in row.items():
            print(f"  {name:<22} {interval(np.array(values))}")
    base, other = (np.array(row["entropy at the end"]) for row in found.values())
    print(f"entropy at the end, second arm over first: {interval(other / base)}")
    print(f"seconds for the pair: {np.median(seconds):.0f} (median of {len(seconds)})")
    result = {"seeds": options.seeds, "arms": found, "seconds": seconds, "environment": describe()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
