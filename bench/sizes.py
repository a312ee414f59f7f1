"""Do a and b of R = -a e^H + b go with model size? Small models from nothing, GRPO on each, the law on each run.

    python bench/sizes.py [--seeds 2] [--steps 100] [--pretraining 400]

Every model sees the same demonstrations of countdown:1 in the same few steps, and is then trained on new problems of it
without an intervention on entropy. Models and runs are kept under runs/sizes; those that are there are not made again.
It takes about eight minutes of one core: two for the four models, and half a minute for each run.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

import isotherm
from isotherm.errors import UserError
from isotherm.files import json_bytes, write_whole
from isotherm.measure.laws.fit import fit
from isotherm.measure.laws.size import FEWEST, by_size
from isotherm.policy.pretrain import Recipe, pretrain
from isotherm.update.precision import kept

SHAPES = ((64, 2), (96, 3), (128, 3), (160, 4))  # width, layers; the third is the built-in model's
TASK = ("countdown", 1)
SETTINGS = {"method": "grpo", "dtype": "float32", "held_out": "", "eval_every": 0, "eval_problems": 32,
            "store_every": 0, "measure_every": 0}  # fmt: skip
EDGE = 5  # rows that the first and last values of a run are means over


@dataclass(frozen=True)
class Trained:
    """A run of a model, and the law on it or why there is none."""

    model: str
    parameters: int  # non-embedding
    seed: int
    reward: tuple[float, float]  # at the start and at the end
    entropy: tuple[float, float]
    law: dict[str, Any] | None
    refused: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each model")
    parser.add_argument("--steps", type=int, default=100, help="of each run")
    parser.add_argument("--pretraining", type=int, default=400, help="steps that make each model")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the models, smallest first")
    parser.add_argument("--cache", type=Path, default=Path("runs/sizes"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/sizes.json"))
    asked = parser.parse_args()
    models = [model(*shape, asked.pretraining, asked.cache) for shape in SHAPES[: asked.shapes]]
    runs: list[Trained] = []
    for seed in range(1, asked.seeds + 1):
        for folder in models:
            runs.append(trained(folder, seed, asked.steps))
            print(row(runs[-1]), flush=True)
            write_whole(asked.out, json_bytes(result(runs, asked.pretraining, asked.steps)))
    for coefficient, found in lines(runs).items():
        print(coefficient, found)


def recipe(width: int, layers: int, steps: int) -> Recipe:
    """The built-in model's recipe, narrowed to one task; its MLP is 2.75 times as wide as the model."""
    family, level = TASK
    return Recipe(steps=steps, families=(family,), levels=(level,), width=width, layers=layers, mlp=width * 11 // 4)


def model(width: int, layers: int, steps: int, cache: Path) -> Path:
    """The folder of a model, made under another name first, so that it is there whole or not at all."""
    folder = cache / f"w{width}l{layers}-{steps}" / "model"
    if not folder.is_dir():
        unfinished = folder.with_name("unfinished")
        with kept():
            torch.set_num_threads(1)
            torch.set_float32_matmul_precision("medium")
            pretrain(recipe(width, layers, steps), unfinished, torch.bfloat16, said(folder, steps))
        unfinished.rename(folder)
    return folder


def said(folder: Path, steps: int) -> Callable[[int, float, float], None]:
    def say(step: int, loss: float, seconds: float) -> None:
        if step % 100 == 0 or step == steps:
            print(f"{folder.parent.name}  step {step}/{steps}  loss {loss:.3f}  {seconds:.0f} s", flush=True)

    return say


def parameters(folder: Path) -> int:
    """All but the embedding, which is the head too."""
    weights = load_file(folder / "model.safetensors")
    return sum(w.numel() for name, w in weights.items() if "embed_tokens" not in name)


def trained(folder: Path, seed: int, steps: int) -> Trained:
    """One GRPO run of a model; a finished run is only read."""
    family, level = TASK
    out = folder.parent / f"seed{seed}-{steps}"
    run = isotherm.train(quiet=True, model=str(folder), out=str(out), seed=seed, steps=steps,
                         train=f"{family}:{level}", **SETTINGS)  # fmt: skip
    h, r = (np.asarray(run.metrics[c], float) for c in ("entropy/exact", "reward/mean"))
    rows = np.isfinite(h) & np.isfinite(r)
    law, refused = fitted(h[rows], r[rows])
    return Trained(folder.parent.name, parameters(folder), seed, edges(r[rows]), edges(h[rows]), law, refused)


def edges(x: np.ndarray) -> tuple[float, float]:
    return float(x[:EDGE].mean()), float(x[-EDGE:].mean())


def fitted(entropy: np.ndarray, reward: np.ndarray) -> tuple[dict[str, Any] | None, str]:
    """The law of a run, or the sentence that refuses it."""
    try:
        law = fit(entropy, reward)
    except UserError as error:
        return None, str(error)
    return {"a": law.a, "b": law.b, "standard errors": law.standard_errors, "ceiling": asdict(law.ceiling),
            "r2": law.r2, "first-stage F": law.strength}, ""  # fmt: skip


def means(runs: list[Trained], coefficient: str) -> tuple[list[int], list[float]]:
    """Sizes, and the coefficient of each as the mean over its runs: seeds of one model are no rows of their own."""
    sizes = sorted({run.parameters for run in runs if run.law})
    return sizes, [float(np.mean([x.law[coefficient] for x in runs if x.law and x.parameters == n])) for n in sizes]


def lines(runs: list[Trained]) -> dict[str, Any]:
    """a and b against ln N; where there is a size to spare, the largest as the smaller ones foretell it."""
    found: dict[str, Any] = {}
    for coefficient in ("a", "b"):
        sizes, values = means(runs, coefficient)
        found[coefficient] = {"sizes": sizes, "means": values} | line(sizes, values)
        if len(sizes) > FEWEST:
            foretold = float(by_size(sizes[:-1], values[:-1]).at(sizes[-1]))
            found[coefficient]["largest"] = {"foretold": foretold, "found": values[-1]}
    return found


def line(sizes: list[int], values: list[float]) -> dict[str, Any]:
    """Slope and intercept with 95 % intervals, or the sentence that refuses them."""
    try:
        found = by_size(sizes, values)
    except UserError as error:
        return {"refused": str(error)}
    return {"intercept": asdict(found.intercept), "slope": asdict(found.slope), "r2": found.r2}


def row(run: Trained) -> str:
    told = run.refused
    if run.law:
        (ea, eb), ceiling = run.law["standard errors"], run.law["ceiling"]
        told = (f"a {run.law['a']:.3f} ({ea:.3f})  b {run.law['b']:.3f} ({eb:.3f})  "
                f"b - a {ceiling['value']:.3f}  R2 {run.law['r2']:.2f}")  # fmt: skip
    (r0, r1), (h0, h1) = run.reward, run.entropy
    return f"{run.model}  N {run.parameters}  seed {run.seed}  R {r0:.3f} to {r1:.3f}  H {h0:.3f} to {h1:.3f}  {told}"


def result(runs: list[Trained], pretraining: int, steps: int) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    machine = {"commit": commit, "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
               "python": platform.python_version(), "torch": torch.__version__}  # fmt: skip
    settings = {**SETTINGS, "train": "{}:{}".format(*TASK), "steps": steps, "pretraining": pretraining}
    return {"machine": machine, "settings": settings, "runs": [asdict(run) for run in runs], "by size": lines(runs)}


if __name__ == "__main__":
    main()
