"""Heads and decoding steps on a GPU: milliseconds, TFLOP/s against a large matrix product, and memory.

    python bench/gpu.py --out bench/results/gpu.json

All candidates run in one process, in turns; what is measured, and how to have the peers: bench/README.md. Without a GPU
`--dry-run` goes through the same steps with tiny sizes, the kernels by Triton's interpreter; its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from gpu_clock import interleaved, scratch, seconds
from gpu_decoding import DECODERS, measure_decoding

if TYPE_CHECKING:
    from gpu_heads import Calls, Candidate, Data

ROWS = 8192
SIZES = "896x32000,896x151936,2048x32000,2048x151936,4096x32000,4096x151936"
LARGE = 8192  # rows, columns and inner length of the product that counts as the peak
PACKAGES = ("torch", "triton", "liger-kernel", "verl")


def error(data: Data, logprob: torch.Tensor, rows: int = 256) -> float:
    """Largest distance of log pi from float64."""
    with torch.no_grad():
        exact = torch.log_softmax(data.hidden[:rows].double() @ data.weight.double().T, -1)
        return float((exact.gather(1, data.target[:rows, None])[:, 0] - logprob[:rows].double()).abs().max())


def prepare(candidate: Candidate, data: Data, device: str) -> tuple[Calls, dict[str, Any]]:
    """Two calls beforehand, since kernels are compiled and tuned in the first; memory and error from the second."""
    calls = candidate.build(data)
    calls.both()
    row: dict[str, Any] = {"scratch": scratch(calls.both, device)}
    logprob = calls.forward() if calls.forward else None
    return calls, row | {"error": None if logprob is None else error(data, logprob)}


def measure_head(rows: int, width: int, vocabulary: int, rounds: int, device: str) -> dict[str, Any]:
    from gpu_heads import CANDIDATES, make_data

    data, table, timed = make_data(rows, width, vocabulary, device), {}, {}
    for c in CANDIDATES:
        row = {"products": c.products, "returns": c.returns}
        try:
            calls, more = prepare(c, data, device)
        except Exception as problem:  # a peer that is absent, or cannot run here
            table[c.name] = row | {"skipped": f"{type(problem).__name__}: {' '.join(str(problem).split())[:160]}"}
            continue
        table[c.name] = row | more
        timed[f"{c.name}|both"] = calls.both
        if calls.forward:
            timed[f"{c.name}|forward"] = calls.forward
    for key, value in interleaved(timed, rounds, lambda call: seconds(call, device)).items():
        name, part = key.split("|")
        table[name][part] = value
    operations = 2 * rows * width * vocabulary
    return {"rows": rows, "width": width, "vocabulary": vocabulary, "table": with_rates(table, operations)}


def with_rates(table: dict[str, dict[str, Any]], operations: int) -> dict[str, dict[str, Any]]:
    """TFLOP/s: one product forward; 4 or 3 in all."""
    for row in table.values():
        if "both" in row:
            row["both_tflops"] = row["products"] * operations / row["both"] / 1e12
        if "forward" in row:
            row["forward_tflops"] = operations / row["forward"] / 1e12
    return table


def peak(n: int, rounds: int, device: str) -> float:
    """TFLOP/s of an [n, n] by [n, n] product in bfloat16."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = a @ b
    return 2 * n**3 / median(seconds(lambda: torch.mm(a, b, out=out), device) for _ in range(rounds)) / 1e12


def show(result: dict[str, Any]) -> None:
    print(f"{result['machine']}, commit {result['commit']}, {result['versions']}")
    print(f"{LARGE if not result['dry_run'] else 'small'}-sided bfloat16 product: {result['peak_tflops']:.0f} TFLOP/s")
    for size in result["heads"]:
        print(f"\nN {size['rows']}, D {size['width']}, V {size['vocabulary']}, bfloat16; % of the product above")
        print(f"{'':22}{'forward':>18}{'forward + backward':>24}{'scratch':>10}{'error':>9}")
        for name, row in size["table"].items():
            print(line(name, row, result["peak_tflops"]))
    print(f"\n{'decoding step':16}{'rows':>6}{'ordinary':>12}{'graph':>10}")
    for row in result["decoding"]:
        print(f"{row['decoder']:16}{row['rows']:6}{1e3 * row['ordinary']:9.2f} ms{1e3 * row['graph']:7.2f} ms")


def line(name: str, row: dict[str, Any], top: float) -> str:
    if "skipped" in row:
        return f"{name:22}  skipped: {row['skipped']}"
    parts = [
        f"{1e3 * row[part]:.2f} ms {row[rate]:4.0f} {row[rate] / top:4.0%}" if part in row else ""
        for part, rate in (("forward", "forward_tflops"), ("both", "both_tflops"))
    ]
    memory = "" if row["scratch"] is None else f"{row['scratch'] / 2**20:7.0f} MB"
    distance = "" if row["error"] is None else f"{row['error']:9.0e}"
    return f"{name:22}{parts[0]:>18}{parts[1]:>24}{memory:>10}{distance}"


def commit() -> str:
    """Of the working tree, with a mark where it has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    told = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def pairs(text: str) -> list[tuple[int, int]]:
    """896x32000,... -> width and vocabulary."""
    try:
        found = [(int(width), int(vocabulary)) for width, vocabulary in (part.split("x") for part in text.split(","))]
    except ValueError:
        found = []
    if not found or min(min(pair) for pair in found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of sizes such as 896x32000,2048x151936")
    return found


def run(a: argparse.Namespace, device: str) -> dict[str, Any]:
    dry = device == "cpu"
    machine = "dry run on a CPU, times without meaning" if dry else torch.cuda.get_device_name()
    result: dict[str, Any] = {"machine": machine, "commit": commit(), "versions": versions(), "dry_run": dry}
    result |= {"rounds": a.rounds, "peak_tflops": peak(64 if dry else LARGE, a.rounds, device)}
    rows = 6 if dry else a.rows
    result["heads"] = [measure_head(rows, width, size, a.rounds, device) for width, size in a.sizes]
    several = [16] if dry else [64, 256]
    result["decoding"] = [measure_decoding(n, r, 2 if dry else 64, a.rounds, device) for n in DECODERS for r in several]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=pairs, help=f"width x vocabulary, separated by commas; default {SIZES}")
    parser.add_argument("--rows", type=int, default=ROWS, help="tokens; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=11, help="calls of each; default: %(default)s")
    parser.add_argument("--out", type=Path, help="write the result here as JSON")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    a = parser.parse_args()
    if not a.dry_run and not torch.cuda.is_available():
        parser.exit(2, "There is no CUDA device here, so nothing was measured; --dry-run tries the command itself.\n")
    if a.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported
    a.sizes = a.sizes or pairs("8x40" if a.dry_run else SIZES)
    result = run(a, "cpu" if a.dry_run else "cuda")
    show(result)
    if a.out:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
