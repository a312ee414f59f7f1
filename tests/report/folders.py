"""Run folders with made-up numbers, shaped like those that training writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isotherm.measure.dynamics import ESTIMATORS

FAMILIES = {"trained": ("countdown", "chain", "subset"), "held_out": ("fill", "ladder", "route")}
ENVIRONMENT = {
    "versions": {"python": "3.11.4", "torch": "2.13.0"},
    "machine": "2 cores",
    "dtype": "float32",
    "reason": "bfloat16 took 1.7 times as long here",
}
SCALE, MEASURED, TOKENS = 50.0, (5, 10, 15, 20), 300


def make_run(path: Path, method: str = "grpo", seed: int = 0, steps: int = 100, floor: float = 0.09, **more) -> Path:
    """A finished run whose entropy decays from 0.36 nats to `floor`."""
    (path / "rollouts").mkdir(parents=True)
    settings = {"method": method, "seed": seed, "steps": steps, "updates": 4, "prompts": 32, "group": 8, "lr": 3e-4}
    config = {**settings, "train": "countdown:2,chain:2,subset:2", "eval_k": [1, 4, 16], "out": str(path), **more}
    (path / "config.json").write_text(json.dumps(config))
    (path / "environment.json").write_text(json.dumps(ENVIRONMENT))
    random = np.random.default_rng([seed, len(method)])
    rows = [row(t, steps, floor, random) for t in range(steps + 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    timing = {"seconds": 1.5, "sample_seconds": 0.6, "tokens": 9000, "tokens_per_second": 21345.6}
    lines = (json.dumps({"step": t, **timing}) + "\n" for t in range(1, steps + 1))
    (path / "timings.jsonl").write_text("".join(lines))
    for step in (0, steps):
        (path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
        write_eval(path, step, random)
    return path


def row(t: int, steps: int, floor: float, random: np.random.Generator) -> dict:
    """The metrics of one step; step 0 has only an evaluation."""
    entropy = floor + (0.36 - floor) * np.exp(-5 * max(t - 1, 0) / steps)
    right = 0.42 - 0.16 * np.exp(entropy)
    values: dict = {"step": t}
    if t:
        noise = random.normal(0, 0.02, 4)
        values |= {
            "reward/mean": right + noise[0],
            "pass@1/train": right + noise[0],
            "pass@1/train/countdown": right + noise[1],
            "verdict/correct": right + noise[0],
            "entropy/exact": entropy * (1 + noise[2]),
            "entropy/exact_per_response": entropy * (1 + noise[2]) * 1.05,
            "length/mean": 34 + 100 * noise[3],
            "update/grad_norm": None if t == 3 else float(np.exp(20 * noise[1])) / 3,
            "mismatch/mean": 1e-6 * float(np.exp(10 * noise[2])),
            "mismatch/max": 2e-5,
        }
    if t % max(1, steps // 4) == 0:
        for scope, families in FAMILIES.items():
            base = right if scope == "trained" else right / 3
            for k in (1, 4, 16):
                values[f"eval/{scope}/pass@{k}"] = base * k**0.25
                values |= {f"eval/{family}/pass@{k}": base * k**0.25 for family in families}
    return values


def write_eval(path: Path, step: int, random: np.random.Generator, response: str = "3 * 7 = 21; 21 + 4 = 25") -> None:
    """Two problems per family with four responses each."""
    rows = [
        {
            "step": step, "family": family, "level": 2, "key": f"{family}:{n}", "problem": i,
            "prompt": f"Reach 25 with 3 4 7 ({family} {n}):", "group": i, "sample": s,
            "response": response if s else "I do not know", "ids": [1, 2], "finished": True,
            "logprob": [-0.1, -0.2], "entropy": [0.1, 0.2],
            "verdict": ["wrong", "correct", "unparsed", "error"][(s + (step > 0)) % 4], "reward": 0.0,
        }
        for i, (family, n) in enumerate((f, n) for fs in FAMILIES.values() for f in fs for n in range(2))
        for s in range(4)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path / "rollouts" / f"eval-{step:06d}.parquet")


def made_up(step: int, update: int, noise: float) -> dict:
    """Tokens whose change is SCALE times the exact prediction and its penalty, and noise."""
    random = np.random.default_rng([step, update])
    count = TOKENS + 10 * update
    sign = random.integers(-1, 2, count)
    exact, penalty = random.normal(-1e-4, 1e-3, count), random.normal(0, 1e-4, count)
    measured = SCALE * (exact + penalty) + noise * random.normal(size=count)
    return {
        "step": [step] * count, "update": [update] * count, "position": np.arange(count) % 40,
        "advantage": sign * 0.5, "covariance": random.normal(size=count), "loss": random.normal(size=count),
        "gradient": random.random(count), "measured": measured, "along_step": [float(measured.mean())] * count,
        "predicted_exact": exact, "predicted_penalty": penalty,
        **{f"predicted_{name}": random.normal(size=count) for name in ESTIMATORS if name != "exact"},
        "plain_step": random.normal(-1e-5, 1e-4, count), "adam_step": random.normal(-1e-3, 1e-3, count),
        "token": random.choice(["a", "b", "<eos>"], count), "family": random.choice(["chain", "subset"], count),
        "quadrant": random.choice(["I", "II", "III", "IV"], count), "quadrant_published": ["I"] * count,
        "clip": random.choice(["inside", "above, stopped"], count),
    }  # fmt: skip


def write_measured(path: Path) -> None:
    """Two measured updates in each of the steps of MEASURED."""
    (path / "dynamics").mkdir()
    for step in MEASURED:
        parts = [pa.table(made_up(step, update, noise=0.01)) for update in (0, 1)]
        pq.write_table(pa.concat_tables(parts), path / "dynamics" / f"step-{step:06d}.parquet")
