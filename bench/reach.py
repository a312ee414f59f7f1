"""How far does a knob move the entropy? The curve of runs with the knob fixed at each of several values.

A line that a thermostat is to hold belongs between the curves of a knob, and, so that it costs no accuracy, near the
one of the published constant. Run it before a line is drawn, on other seeds than those the line is judged on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import isotherm
from isotherm.files import json_bytes, write_whole

# knob: methods with the knob at several values, the least first
VALUES = {
    "sampling.temperature": ("grpo",),
    "reference_kl.c": ("reference_kl(c=0.05)", "reference_kl(c=0.2)"),
    "entropy_bonus.c": ("entropy_bonus(c=0.03)", "entropy_bonus(c=0.1)"),
    "sampled_entropy.c": ("sampled_entropy(c=0.03)", "sampled_entropy(c=0.1)"),
    "soft_return.c": ("soft_return(c=0.01)", "soft_return(c=0.05)"),
    "reference_ratio.beta": ("reference_ratio(beta=0.05)", "reference_ratio(beta=0.2)"),
    "repo.beta": ("repo(beta=0.03)", "repo(beta=0.1)"),
    "par.pos": ("par(pos=0, schedule=none)", "par(pos=0.3, schedule=none)"),
    "par.neg": ("par(neg=0, schedule=none)", "par(neg=4, schedule=none)", "par(neg=15, schedule=none)"),
    "kl_cov.beta": ("kl_cov", "kl_cov(beta=10)"),
    "ppo_clip.high": ("clip_higher(high=0.05)", "clip_higher", "clip_higher(high=1)"),
    "steer.floor": ("steer(floor=0)", "steer"),
}
SETTINGS = {"prompts": 64, "steps": 100, "max_new": 24, "held_out": "", "eval_every": 0, "eval_problems": 256,
            "store_every": 0, "measure_every": 0}  # fmt: skip
AT = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="20")
    parser.add_argument("--knobs", default=",".join(VALUES), help="which, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("bench/results/reach.json"))
    asked = parser.parse_args()
    runs = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else {}
    for knob in asked.knobs.split(","):
        for method in VALUES[knob]:
            for seed in map(int, asked.seeds.split(",")):
                name = f"{method} seed {seed}"
                if name not in runs:
                    runs[name] = one(method, seed)
                    write_whole(asked.out, json_bytes({"settings": SETTINGS, "at": AT, "runs": runs}))
                curve = " ".join(f"{h:.3f}" for h in runs[name]["entropy"])
                print(f"{knob:22} {name:40} {curve}  pass@1 {runs[name]['pass@1']:.3f}", flush=True)


def one(method: str, seed: int) -> dict[str, list[float] | float]:
    """Mean entropy of the ten steps that end at each share of the run, and the accuracy at the end."""
    with tempfile.TemporaryDirectory() as folder:
        run = isotherm.train(method=method, quiet=True, out=f"{folder}/run", seed=seed, **SETTINGS)
        entropy = run.metrics["entropy/exact"][1:]
        ends = [max(1, round(share * SETTINGS["steps"])) for share in AT]
        curve = [float(entropy[max(0, end - 10) : end].mean()) for end in ends]
        return {"entropy": curve, "pass@1": float(run.metrics["eval/trained/pass@1"][-1])}


if __name__ == "__main__":
    main()
