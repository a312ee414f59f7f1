"""Time and peak memory of `isotherm forecast` on logs of a million rows, each in a process of its own.

    python bench/forecast.py [--rows 1000000] [--out bench/results/forecast.json]

The files are those of `logs.py` with the law planted in them: entropy falls from 1 to .1 nats with a time constant of a
quarter of the run, and the reward is 1 - .3 e^H with noise. The page, the JSON and the figures are written.
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

from logs import table, write_csv, write_lines

RUN = """
import sys
from isotherm import cli
code = cli.main(sys.argv[1:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code, peak, file=sys.stderr)
"""


def planted(rows: int) -> np.ndarray:
    random = np.random.default_rng(1)
    values = table(rows)
    entropy = 0.1 + 0.9 * np.exp(-4 * np.arange(rows) / rows)
    values[:, 0] = entropy * (1 + random.normal(0, 0.03, rows))
    values[:, 1] = 1 - 0.3 * np.exp(entropy) + random.normal(0, 0.02, rows)
    return values


def measured(path: Path, command: str) -> dict[str, float]:
    """Wall and CPU seconds and the peak of resident memory, with the start of the interpreter."""
    files = ["--json", str(path.with_suffix(".out.json")), "--out", str(path.with_suffix(".html"))]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, command, str(path), *files],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = process.stderr.read().split() if process.stderr else []
    _, status, usage = os.wait4(process.pid, 0)
    if status or told[:1] != ["0"]:
        raise SystemExit(f"{command} of {path.name} failed: {' '.join(told)}")
    return {
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(int(told[1]) / 1024),
        "file_mib": round(path.stat().st_size / 2**20),
        "page_kib": round(path.with_suffix(".html").stat().st_size / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="write the result here as JSON")
    a = parser.parse_args()
    result: dict[str, object] = {"rows": a.rows, "cores": os.cpu_count(), "load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory() as folder:
        for label, rows in (("200 rows", 200), (f"{a.rows} rows", a.rows)):
            for name, write in (("csv", write_csv), ("jsonl", write_lines)):
                path = Path(folder) / f"log.{name}"
                write(path, planted(rows))
                for command in ("forecast", "diagnose"):
                    found = measured(path, command)
                    result[f"{command}, {name}, {label}"] = found
                    print(f"{command:9} {name:6} {label:15}", found, flush=True)
    if a.out:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
