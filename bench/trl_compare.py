"""Isotherm against TRL's GRPOTrainer on one thread: tokens per second of sampling and of training, seconds per step.

    python bench/trl_compare.py --sizes 0.5M,4M --rounds 6 --out bench/results/trl.json

Both train the same model on the same prompts with the same work per step; every worker is its own process, and the
processes take turns, one step at a time. What is measured, and what is not: bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from random_model import SIZES, make_model, make_prompts
from stepping import PARTS, Worker, start

HERE = Path(__file__).resolve().parent
VENV = HERE.parent / ".venv-trl"
PINS = ("torch==2.13.0", "trl==1.16.0", "transformers==5.23.0")
PROMPTS, GROUP, NEW, PROMPT_LENGTH, LR = 8, 8, 64, 6, 1e-4
TOKENS = PROMPTS * GROUP * NEW
TRL = {  # name: precision, float32 matrix products, attention
    "trl f32 sdpa": ("float32", "highest", "sdpa"),
    "trl f32 eager": ("float32", "highest", "eager"),
    "trl medium eager": ("float32", "medium", "eager"),
    "trl bf16 sdpa": ("bfloat16", "highest", "sdpa"),
    "trl bf16 eager": ("bfloat16", "highest", "eager"),
}
OURS = {  # name: precision, the model's inner loops
    "isotherm f32": ("float32", "compiled"),
    "isotherm bf16": ("bfloat16", "compiled"),
    "plain f32": ("float32", "plain"),
    "plain bf16": ("bfloat16", "plain"),
}
SIDES = {"compiled": ("isotherm f32", "isotherm bf16"), "plain PyTorch": ("plain f32", "plain bf16")}
KINDS = {"cpu_min": (1, min), "cpu_median": (1, median), "wall_min": (0, min), "wall_median": (0, median)}


def environment() -> Path:
    """The interpreter of TRL's own environment, made at the first call."""
    python, done = VENV / "bin" / "python", VENV / "ready"
    if not done.exists():
        print(f"Installing {', '.join(PINS)} into {VENV}; this happens once.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PINS], check=True)
        done.write_text("\n".join(PINS) + "\n")
    return python


def start_all(model: Path, width: int, names: list[str], signal: float, verbose: bool) -> list[Worker]:
    """TRL's workers and ours, which must have models of the same size."""
    common = {"model": model, "prompts": PROMPTS, "group": GROUP, "new": NEW, "lr": LR, "signal": signal}
    theirs, ours = [environment(), HERE / "trl_worker.py"], [sys.executable, HERE / "isotherm_worker.py"]
    chosen = [
        (name, dict(zip(("dtype", "matmul", "attention"), TRL[name], strict=True))) for name in TRL if name in names
    ]
    workers = [start(name, theirs, common | options, verbose) for name, options in chosen]
    for name in (name for name in OURS if name in names):
        options = {"dtype": OURS[name][0], "kernels": OURS[name][1], "width": width}
        workers.append(start(name, ours, common | options, verbose))
    counts = {w.name: w.hello["parameters"] for w in workers}
    if len(set(counts.values())) != 1:
        raise SystemExit(f"The models differ in their number of parameters: {counts}.")
    return workers


def measure(size: str, names: list[str], a: argparse.Namespace) -> dict[str, Any]:
    """Rounds of one step each; every round begins with another worker."""
    with tempfile.TemporaryDirectory() as folder:
        model, (width, layers) = Path(folder), SIZES[size]
        make_model(model, width, layers)
        make_prompts(model, PROMPT_LENGTH)
        workers = start_all(model, width, names, a.signal, a.verbose)
        try:
            for number in range(a.warm + a.rounds):
                for i in range(len(workers)):
                    workers[(number + i) % len(workers)].step(NEW, counted=number >= a.warm)
        finally:
            for worker in workers:
                worker.stop()
    return summary(size, workers)


def summary(size: str, workers: list[Worker]) -> dict[str, Any]:
    """Seconds of each part, and TRL's best configuration over our best on each side; best is least CPU seconds per
    step."""
    table = {
        w.name: {
            **w.hello,
            **{part: {kind: f(row[i] for row in w.seconds[part]) for kind, (i, f) in KINDS.items()} for part in PARTS},
        }
        for w in workers
    }
    trl = best(table, TRL)
    sides = {}
    for side, members in SIDES.items():
        if ours := best(table, members):
            ratios = {
                part: {kind: table[trl][part][kind] / table[ours][part][kind] for kind in KINDS} for part in PARTS
            }
            sides[side] = {"best": [trl, ours], "ratios": ratios}
    return {"size": size, "parameters": workers[0].hello["parameters"], "workers": table, "sides": sides}


def best(table: dict[str, Any], names: Iterable[str]) -> str:
    """The fastest of those that ran; '' where none did."""
    there = [name for name in table if name in names]
    return min(there, key=lambda name: table[name]["step"]["cpu_min"]) if there else ""


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['size']}: {result['parameters']:,} parameters, {TOKENS} tokens per step")
    print(f"{'':18}{'CPU s / step':>20}{'wall s / step':>20}{'tokens / CPU s':>18}")
    print(f"{'':18}{'min':>10}{'median':>10}{'min':>10}{'median':>10}{'sample':>10}{'train':>8}{'step':>8}")
    for name, row in result["workers"].items():
        seconds = "".join(f"{row['step'][kind]:10.3f}" for kind in KINDS)
        rates = "".join(f"{TOKENS / row[part]['cpu_min']:{w},.0f}" for part, w in zip(PARTS, (10, 8, 8), strict=True))
        print(f"{name:18}{seconds}{rates}")
    for side, found in result["sides"].items():
        (trl, ours), ratios = found["best"], found["ratios"]
        for kind in KINDS:
            each = ", ".join(f"{part} {ratios[part][kind]:.2f}" for part in PARTS)
            print(f"{side}: {trl} / {ours}, {kind.replace('_', ' ')}: {each}")


def commit() -> str:
    """Of the checkout, with a + where files differ from it."""
    asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0.5M,4M", help=f"separated by commas, of {', '.join(SIZES)}")
    parser.add_argument("--rounds", type=int, default=6, help="counted steps of each worker")
    parser.add_argument("--warm", type=int, default=1, help="steps of each worker before any is counted")
    parser.add_argument("--signal", type=float, default=1.0, help="share of the groups whose rewards differ")
    parser.add_argument("--workers", default=",".join((*TRL, *OURS)), help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="write the result here as JSON")
    parser.add_argument("--verbose", action="store_true", help="show what the workers print")
    a = parser.parse_args()
    sizes = a.sizes.split(",")
    if unknown := [size for size in sizes if size not in SIZES]:
        parser.error(f"there is no size {unknown[0]!r}; choose among {', '.join(SIZES)}")
    names = a.workers.split(",")
    if not set(names) & set(TRL) or not set(names) & set(OURS) or set(names) - set(TRL) - set(OURS):
        parser.error(f"--workers needs one or more of {', '.join(TRL)} and one or more of {', '.join(OURS)}")
    if a.rounds < 1 or a.warm < 0:
        parser.error("--rounds must be at least 1 and --warm at least 0")
    if not 0 < a.signal <= 1:
        parser.error("--signal must be above 0 and at most 1")
    result: dict[str, Any] = {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "rounds": a.rounds,
        "signal": a.signal,
    }
    result["commit"] = commit()
    result["load_before"] = os.getloadavg()
    result["sizes"] = [measure(size, names, a) for size in sizes]
    result["load_after"] = os.getloadavg()
    for part in result["sizes"]:
        show(part)
    workers = result["sizes"][0]["workers"].values()
    versions = ", ".join(f"{name} {v}" for name, v in {k: v for w in workers for k, v in w["versions"].items()}.items())
    before, after = result["load_before"][0], result["load_after"][0]
    print(
        f"\n{result['cpu']}, {result['cores']} cores, 1 thread; load {before:.1f} before, {after:.1f} after; {versions}"
    )
    if a.out:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
