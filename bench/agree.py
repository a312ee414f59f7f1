"""Isotherm's methods against verl's and TRL's own code: loss, slopes by log pi and H, gradient of a small model.

    python bench/agree.py --out bench/results/agreement.json

Each peer runs in an environment of its own, made at the first call. What is compared and what is not: bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from trl_compare import PINS, commit, processor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SEAM, SMALL = 1e-6, 1e-5  # largest relative error at the seam, and of the parameters' gradient
COLUMNS = ("loss", "logprob", "entropy", "advantage", "parameters")
HEADINGS = ("loss", "d / d log pi", "d / d H", "advantage", "parameters")
VERL = (  # what its losses import; the trainer's other requirements need a GPU
    "torch==2.13.0", "tensordict==0.10.0", "transformers==5.10.4", "ray==2.60.0", "hydra-core==1.3.8",
    "omegaconf==2.3.1", "codetiming==1.4.0", "torchdata==0.11.0", "dill==0.4.1", "pylatexenc==2.11", "pillow==13.0.0",
    "peft==0.21.2", "orjson==3.13.0", "datasets==5.2.0", "pandas==3.1.1", "numpy==2.4.6",
)  # fmt: skip


class Peer(NamedTuple):
    """A package, the folder of its environment, what pip is asked for, one call after another."""

    name: str
    venv: Path
    installs: tuple[tuple[str, ...], ...]

    @property
    def worker(self) -> Path:
        return HERE / f"agree_{self.name}.py"


PEERS = {
    "verl": Peer("verl", ROOT / ".venv-verl", (VERL, ("--no-deps", "verl==0.9.1"))),
    "trl": Peer("trl", ROOT / ".venv-trl", (PINS,)),
}


def environment(peer: Peer) -> Path:
    """The interpreter of the peer's environment, made at the first call."""
    python, done = peer.venv / "bin" / "python", peer.venv / "ready"
    if not done.exists():
        print(f"Installing {peer.name} into {peer.venv}; this happens once.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(peer.venv)], check=True)
        for wanted in peer.installs:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        done.write_text("\n".join(" ".join(wanted) for wanted in peer.installs) + "\n")
    return python


def run(peer: Peer, batches: int, small: int, verbose: bool) -> dict[str, Any]:
    """What the worker of the peer found, and its seconds."""
    python, quiet = environment(peer), None if verbose else subprocess.PIPE
    settings = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out, begun = Path(folder) / "out.json", time.perf_counter()
        call = [python, peer.worker, "--batches", batches, "--small", small, "--out", out]
        done = subprocess.run(map(str, call), env=os.environ | settings, stdout=quiet, stderr=quiet, text=True)
        if done.returncode:
            raise SystemExit(f"{peer.worker.name} failed:\n{(done.stderr or '')[-3000:]}")
        return json.loads(out.read_text()) | {"seconds": round(time.perf_counter() - begun, 1)}


def broken(row: dict[str, Any]) -> list[str]:
    """The columns beyond their bound; selections that differ count as well."""
    bounds = {name: SMALL if name == "parameters" else SEAM for name in COLUMNS}
    found = [name for name, bound in bounds.items() if row[name] is not None and not row[name] <= bound]
    return found + ["selection"] * bool(row["notes"].get("other selections"))


def show(name: str, found: dict[str, Any]) -> None:
    versions = ", ".join(f"{package} {number}" for package, number in found["versions"].items())
    print(f"\n{versions}; {found['seconds']} s")
    print(f"{name:<38}{'batches':>8}" + "".join(f"{heading:>14}" for heading in HEADINGS))
    for row in found["checks"]:
        cells = "".join(f"{'-' if row[c] is None else format(row[c], '.1e'):>14}" for c in COLUMNS)
        notes = ", ".join(f"{key} {count}" for key, count in row["notes"].items())
        failed = "  DIFFERS: " + ", ".join(broken(row)) if broken(row) else ""
        print(f"{row['name']:<38}{row['batches']:>8}{cells}  {notes}{failed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="verl,trl", help="separated by commas; default: %(default)s")
    parser.add_argument("--batches", type=int, default=200, help="random batches of each method")
    parser.add_argument("--small", type=int, default=20, help="batches of each method through a small model")
    parser.add_argument("--out", type=Path, help="write the result here as JSON")
    parser.add_argument("--verbose", action="store_true", help="show what the workers print")
    a = parser.parse_args()
    names = a.peers.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"there is no peer {unknown[0]!r}; choose among {', '.join(PEERS)}")
    if a.batches < 1 or a.small < 0:
        parser.error("--batches must be at least 1 and --small at least 0")
    result: dict[str, Any] = {"commit": commit(), "cpu": processor(), "bounds": {"seam": SEAM, "small model": SMALL}}
    result["peers"] = {name: run(PEERS[name], a.batches, a.small, a.verbose) for name in names}
    for name, found in result["peers"].items():
        show(name, found)
    if a.out:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(result, indent=2) + "\n")
    rows = [row for found in result["peers"].values() for row in found["checks"]]
    if differing := [row["name"] for row in rows if broken(row)]:
        raise SystemExit(f"Beyond the bounds: {', '.join(differing)}.")
    print(f"\nAll {len(rows)} within {SEAM:g} at the seam and {SMALL:g} through the model.")


if __name__ == "__main__":
    main()
