"""Does the thermostat hold the entropy on a line, and what does that cost in accuracy?

Lines were fixed before the runs. `--seeds 5` trains each knob on its line and the same method with its published
constant, and writes what every run did; runs that are there already are not made again.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import t as student

import isotherm
from isotherm.files import json_bytes, write_whole
from isotherm.measure.curves import tracking
from isotherm.objective.knobs import KNOBS, at_bound

# 1.22 times the mean course of GRPO on seeds 11 to 15 (bench/results/thermostat-first.json), from the 25th step on
ABOVE = "points(start, 0.275, 0.245, 0.226, 0.21, 0.197, 0.186, 0.177, 0.169, 0.162, 0.155, 0.149, 0.143)"
# knob: (method on the line, knob to hold by, line, the same method with its published constant)
ARMS = {
    "par.pos": ("par", "par.pos", ABOVE, "par"),
    "par.neg": ("par", "par.neg", ABOVE, "par"),
    "sampling.temperature": ("grpo", "temperature", "linear(start, 0.2)", "grpo"),
    "sampled_entropy.c": ("sampled_entropy", "", ABOVE, "sampled_entropy"),
    "reference_kl.c": ("reference_kl", "", ABOVE, "reference_kl"),
}
SETTINGS = {"prompts": 64, "steps": 60, "max_new": 24, "held_out": "", "eval_every": 0, "eval_problems": 1024,
            "eval_samples": 4, "eval_k": (1,), "store_every": 0, "measure_every": 0}  # fmt: skip
SEEDS = 31  # the first of those that the lines are judged on; lines and constants were chosen on 11 to 15 and 20 to 22.
# 36 to 45 were set apart, for PAR's two sides and the temperature, in the commit before their runs: they are judged alone.
FIRST = 0.1  # of the run, in which the line may still be approached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=SEEDS, help="the first seed")
    parser.add_argument("--knobs", default=",".join(list(ARMS)), help="which, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("bench/results/thermostat.json"))
    asked = parser.parse_args()
    runs = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else {}
    jobs = [
        (knob, seed, arm)
        for seed in range(asked.first, asked.first + asked.seeds)
        for knob in asked.knobs.split(",")
        for arm in ARM
    ]
    todo = list({name(*job): job for job in jobs if name(*job) not in runs}.values())
    begun = time.monotonic()
    for count, job in enumerate(todo, 1):
        runs[name(*job)] = one(*job)
        write_whole(asked.out, json_bytes({"machine": machine(), "settings": SETTINGS, "runs": runs}))
        left = (time.monotonic() - begun) / count * (len(todo) - count)
        print(f"{count}/{len(todo)}  {name(*job)}  {left / 60:.0f} min left", flush=True)
    for knob in asked.knobs.split(","):
        print(table(knob, runs, range(asked.first, asked.first + asked.seeds)))


ARM = ("held", "published")


def name(knob: str, seed: int, arm: str) -> str:
    expression = ARMS[knob][0 if arm == "held" else 3]
    return f"{arm} {knob if arm == 'held' else expression} seed {seed}"


def one(knob: str, seed: int, arm: str) -> dict[str, list[float] | float]:
    """Entropy, line and knob of every step, and the accuracy at the end."""
    method, by, line, published = ARMS[knob]
    held = {"method": method, "hold_entropy": line, "hold_by": by} if arm == "held" else {"method": published}
    folder = Path(tempfile.mkdtemp())
    try:
        run = isotherm.train(quiet=True, out=str(folder / "run"), seed=seed, **held, **SETTINGS)
        columns = {"entropy": "entropy/exact", "line": "hold/line", "knob": f"knob/{knob}"}
        kept = {k: [float(x) for x in run.metrics[v][1:]] for k, v in columns.items() if v in run.metrics}
        return {**kept, "pass@1": float(run.metrics["eval/trained/pass@1"][-1])}
    finally:
        shutil.rmtree(folder)


def table(knob: str, runs: dict[str, dict], of: range) -> str:
    """What the runs of a knob say: tracking, share of steps inside the bounds, accuracy against the constant."""
    seeds = [s for s in of if name(knob, s, "held") in runs and name(knob, s, "published") in runs]
    held, plain = ([runs[name(knob, s, arm)] for s in seeds] for arm in ARM)
    if not seeds:
        return f"{knob}: no pair of runs yet"
    after = int(FIRST * SETTINGS["steps"])
    errors = [tracking(run["entropy"], run["line"])[after:] for run in held]
    inside = [np.mean([not at_bound(KNOBS[knob], u) for u in run["knob"]]) for run in held]
    gain = [100 * (run["pass@1"] - other["pass@1"]) for run, other in zip(held, plain, strict=True)]
    return (
        f"{knob:22} {len(seeds)} seeds: ten-step error mean {np.mean(errors):.3f} "
        f"{interval([e.mean() for e in errors])}, within 5 % in {np.mean(np.array(errors) < 0.05):.0%} of the windows, "
        f"largest {np.max(errors):.3f}; inside its bounds {np.mean(inside):.0%}; "
        f"pass@1 {np.mean(gain):+.1f} points {interval(gain, '.1f')} against the published constant"
    )


def interval(values: list[float], form: str = ".3f") -> str:
    """95 % over seeds."""
    if len(values) < 2:
        return "[one seed]"
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"[{np.mean(values) - half:{form}}, {np.mean(values) + half:{form}}]"


def machine() -> dict[str, str]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "commit": commit,
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
