"""A short run of bench/coverage.py: intervals that hold the truth about as often as they say."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_coverage", BENCH / "coverage.py")
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_standard_errors_hold_a_where_textbook_errors_do_not(bench):
    """60 runs of each: 95 % is 57, and 52 or fewer have a chance of 2 %."""
    world = {"noisy": bench.World(phi=0.6, noise_h=0.1)}
    (row,) = bench.measured(world, bench.fitted, 60, seed=7)
    assert row["refused"] == 0
    assert min(row["a"], row["b"], row["ceiling"]) >= 0.87
    assert row["textbook a"] < 0.8
    assert abs(row["bias of a"]) < abs(row["bias of least squares"])


def test_the_end_is_held_by_intervals_narrower_than_persistence(bench):
    """40 runs: 90 % is 36, and 31 or fewer have a chance of 2 %."""
    (row,) = bench.measured({"falls": bench.World(rows=120)}, bench.forecasted, 40, seed=7)
    assert min(row["given H"], row["end to end"]) >= 0.79
    assert row["width end to end"] < row["width persistence, 90 %"] < row["width persistence"]
    assert row["rms error end to end"] < row["rms error persistence"]


def test_planted_runs_obey_the_law(bench):
    world = bench.World(noise_h=0.0, shape="power")
    p = bench.plant(world, np.random.default_rng(0))
    noise = p.reward - (p.b - p.a * np.exp(p.entropy))
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0.5, abs=0.2)
    assert noise.std() < 0.2 * np.ptp(p.reward)
    assert p.exhausted > 1


def test_the_command_writes_its_results(tmp_path):
    out = tmp_path / "coverage.json"
    done = subprocess.run(
        [sys.executable, str(BENCH / "coverage.py"), "--runs", "2", "--forecasts", "2", "--out", str(out)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert out.read_text().count('"refused"') == done.stdout.count("refused")
