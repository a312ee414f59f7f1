"""What bench/overhead.py does with the numbers that it measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.profiler import record_function

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import overhead  # pyright: ignore[reportMissingImports]

    return overhead


def test_a_ratio_is_over_the_whole_step_of_grpo(bench):
    """Sampling takes 1: (2.2 - 2) / (2 + 1), and of nine rounds the second smallest and largest bound the median."""
    assert bench.overhead([(2.0, 2.2)], 1.0)["time"] == pytest.approx(0.2 / 3)
    found = bench.overhead([(1.0, 1.0 + i) for i in (5, 3, 9, 1, 7, 2, 8, 4, 6)], 0.0)
    assert found == {"time": 5.0, "low": 2.0, "high": 8.0}


def test_a_peak_is_the_most_that_is_held_at_once(bench):
    def run():
        first = torch.empty(1_000_000, dtype=torch.uint8)
        del first
        with record_function("update"):
            kept = [torch.empty(200_000, dtype=torch.uint8) for _ in range(3)]
            del kept[0]
            torch.empty(100_000, dtype=torch.uint8)

    assert bench.peaks_of(run) == {"step": 1_000_000, "update": 600_000}


def test_every_row_is_in_a_setting_that_concerns_it(bench):
    rows = {name: bench.method(name) for name in ("grpo", "kl_cov", "gspo", "siren", "reference_kl")}
    concerned = {s: [n for n, m in rows.items() if bench.SETTINGS[s].concerns(m)] for s in bench.SETTINGS}
    assert concerned == {"whole": list(rows), "scoring": ["kl_cov"], "rescored": ["kl_cov", "gspo", "siren"]}
    said = {name: bench.apart(m, "whole") for name, m in rows.items()}
    assert said == {"grpo": "", "kl_cov": "", "gspo": "", "siren": "functional", "reference_kl": "reference"}
    assert bench.apart(rows["siren"], "rescored") == "functional, re-scored"
