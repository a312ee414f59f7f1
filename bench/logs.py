"""Time and peak memory of reading logs of a million rows, each in a process of its own.

    python bench/logs.py [--rows 1000000] [--out bench/results/logs.json]

The files are made up on the fly: 12 columns, 8 of them known, evaluations every 50 steps in the JSON lines.
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

import numpy as np

NAMES = (
    "actor/entropy", "critic/score/mean", "response_length/mean", "actor/pg_clipfrac", "actor/grad_norm", "actor/lr",
    "actor/pg_loss", "actor/ppo_kl", "timing_s/step", "perf/throughput", "prompt_length/mean", "perf/time_per_step",
)  # fmt: skip
READ = """
import sys
from isotherm.measure.logs import read
log = read(sys.argv[1])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(log.step), len(log.series), peak)
"""


def table(rows: int) -> np.ndarray:
    random = np.random.default_rng(0)
    values = random.normal(1, 0.1, (rows, len(NAMES)))
    values[:, 0] = 0.1 + np.exp(-np.arange(rows) / rows) + random.normal(0, 0.01, rows)
    return values


def write_csv(path: Path, values: np.ndarray) -> None:
    with path.open("w") as file:
        file.write(",".join(("step", *NAMES)) + "\n")
        for step, row in enumerate(values.tolist(), 1):
            file.write(f"{step}," + ",".join(map(repr, row)) + "\n")


def write_lines(path: Path, values: np.ndarray) -> None:
    with path.open("w") as file:
        for step, row in enumerate(values.tolist(), 1):
            more = {"val-core/math/acc/mean@8": 0.5} if step % 50 == 0 else {}
            file.write(json.dumps({"step": step, "data": {**dict(zip(NAMES, row, strict=True)), **more}}) + "\n")


def write_broken(path: Path, values: np.ndarray) -> None:
    """As the JSON lines, with a cell in each thousand that Arrow does not take: every block goes line by line."""
    with path.open("w") as file:
        for step, row in enumerate(values.tolist(), 1):
            data = dict(zip(NAMES, row, strict=True)) | ({"actor/entropy": "0.5"} if step % 1000 == 0 else {})
            file.write(json.dumps({"step": step, "data": data}) + "\n")


def measured(path: Path) -> dict[str, float]:
    """Wall and CPU seconds and the peak of resident memory of a fresh interpreter that only reads."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", READ, str(path)], stdout=subprocess.PIPE, text=True)
    told = process.stdout.read().split() if process.stdout else []
    _, status, usage = os.wait4(process.pid, 0)
    if status or len(told) != 3:
        raise SystemExit(f"Reading {path.name} failed.")
    return {
        "steps": int(told[0]),
        "series": int(told[1]),
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(int(told[2]) / 1024),
        "file_mib": round(path.stat().st_size / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="write the result here as JSON")
    a = parser.parse_args()
    result: dict[str, object] = {"rows": a.rows, "cores": os.cpu_count(), "load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("csv", write_csv), ("jsonl", write_lines), ("jsonl, text among numbers", write_broken)):
            for label, rows in (("small", 100), (name, a.rows)):
                path = Path(folder) / "log"
                write(path, table(rows))
                found = measured(path)
                if label != "small" or "start" not in result:
                    result["start" if label == "small" else name] = found
                    print(f"{label if label == 'small' else name:26}", found, flush=True)
    if a.out:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
