"""What bench/sizes.py makes of runs and their laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import sizes  # pyright: ignore[reportMissingImports]

    return sizes


def run(bench, parameters: int, a: float | None, b: float = 1.0):
    law = None if a is None else {"a": a, "b": b}
    return bench.Trained("m", parameters, 1, (0.0, 1.0), (1.0, 0.0), law, "" if law else "no range")


def test_the_line_is_through_the_means_of_the_seeds(bench):
    """a = 1 - .1 ln N at three sizes, each the mean of two seeds off by .05; the refused run counts for nothing."""
    runs = [run(bench, n, 1 - 0.1 * np.log(n) + off) for n in (1000, 3000, 9000) for off in (0.05, -0.05)]
    found = bench.lines([*runs, run(bench, 27000, None)])["a"]
    assert found["slope"]["value"] == pytest.approx(-0.1)
    assert found["intercept"]["value"] == pytest.approx(1.0)
    assert found["sizes"] == [1000, 3000, 9000]
    assert "largest" not in found


def test_the_largest_is_foretold_from_the_smaller_ones(bench):
    """On the line 1 - .1 ln N the largest would have 1 - .1 ln 27000; it has .5."""
    runs = [run(bench, n, 1 - 0.1 * np.log(n)) for n in (1000, 3000, 9000)]
    found = bench.lines([*runs, run(bench, 27000, 0.5)])["a"]["largest"]
    assert found == {"foretold": pytest.approx(1 - 0.1 * np.log(27000)), "found": 0.5}


def test_two_sizes_are_refused_with_the_reason(bench):
    found = bench.lines([run(bench, 1000, 0.3), run(bench, 2000, 0.2)])
    assert "at least 3 rows" in found["a"]["refused"]
    assert "slope" not in found["a"]


def test_a_model_is_made_once_and_learns_only_its_task(bench, tmp_path, monkeypatch):
    """Two layers of 16: 2 (4 16^2 + 3 16 44) weights and 5 norms of 16; a second call makes nothing."""
    seen = []
    batch = bench.pretrain.__globals__["family_batch"]
    monkeypatch.setitem(bench.pretrain.__globals__, "family_batch", lambda *x: seen.append(x[2]) or batch(*x))
    folder = bench.model(16, 2, 2, tmp_path)
    assert bench.parameters(folder) == 2 * (4 * 16**2 + 3 * 16 * 44) + 5 * 16
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if "lm_head" in name]  # noqa: SIM118, a safetensors file is no dict and cannot be iterated
    assert bench.model(16, 2, 2, tmp_path) == folder
    assert seen == ["countdown", "countdown"]
