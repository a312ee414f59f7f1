"""bench/gpu.py as far as it goes without a GPU."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import gpu  # pyright: ignore[reportMissingImports]

    return gpu


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BENCH / "gpu.py"), *arguments], capture_output=True, text=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU.")
def test_without_a_gpu_it_is_one_sentence():
    done = command()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("There is no CUDA device here")
    assert done.stderr.count("\n") == 1


def test_the_dry_run_goes_through_everything(tmp_path):
    pytest.importorskip("triton")
    done = command("--dry-run", "--rounds", "1", "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["dry_run"]
    assert result["machine"] == "dry run on a CPU, times without meaning"
    (size,) = result["heads"]
    assert (size["rows"], size["width"], size["vocabulary"]) == (6, 8, 40)
    for name in ("isotherm, recompute", "isotherm, in forward"):
        assert size["table"][name]["error"] < 1e-5
        assert name in done.stdout
    assert not [name for name in ("products alone", "plain PyTorch") if "skipped" in size["table"][name]]
    assert all(row["graph"] > 0 < row["ordinary"] for row in result["decoding"])


def test_calls_take_turns_and_their_median_counts(bench):
    order, times = [], iter([1.0, 9.0, 8.0, 2.0, 3.0, 7.0])

    def clock(call):
        call()
        return next(times)

    found = bench.interleaved({name: lambda n=name: order.append(n) for name in "ab"}, 3, clock)
    assert order == list("abbaab")
    assert found == {"a": 2.0, "b": 8.0}


def test_rates_count_the_products_of_each_way(bench):
    """1e9 operations a product: 4 in 2 ms, one of them in 1 ms."""
    table = {"x": {"products": 4, "both": 2e-3, "forward": 1e-3, "scratch": 3 * 2**20, "error": 2e-7}}
    row = bench.with_rates(table, int(1e9))["x"]
    assert (row["both_tflops"], row["forward_tflops"]) == (pytest.approx(2.0), pytest.approx(1.0))
    text = bench.line("x", row, top=4.0)
    assert text.split() == ["x", "1.00", "ms", "1", "25%", "2.00", "ms", "2", "50%", "3", "MB", "2e-07"]
    assert bench.line("y", {"products": 3, "skipped": "absent"}, 4.0).split() == ["y", "skipped:", "absent"]


def test_sizes(bench):
    assert bench.pairs("896x32000,8x40") == [(896, 32000), (8, 40)]
    for wrong in ("896", "896x", "0x5", "axb", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            bench.pairs(wrong)
