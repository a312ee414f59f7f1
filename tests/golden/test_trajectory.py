"""A run of today gives the numbers of the stored run, however the batch is cut."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from isotherm import native

HERE = Path(__file__).parent
NOISE = "mismatch/"  # rounding itself: other on every machine
RELATIVE, ABSOLUTE = 1e-4, 1e-6  # other processors round differently


def load():
    spec = importlib.util.spec_from_file_location("trajectory", HERE / "trajectory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def differences(found: dict, stored: dict) -> list[str]:
    """Names of the metrics that differ, each with its values."""
    wrong = [f"{name} is in one of them only" for name in found.keys() ^ stored.keys()]
    for name in sorted(found.keys() & stored.keys()):
        a, b = (np.array(values[name], dtype=float) for values in (found, stored))
        same = a.shape == b.shape and np.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        if not same and not name.startswith(NOISE):
            wrong.append(f"{name}: {a.tolist()} instead of {b.tolist()}")
    return wrong


@pytest.mark.parametrize("micro_batch", [0, 5])
def test_the_trajectory_is_the_stored_one(micro_batch: int, tmp_path: Path) -> None:
    """If a change of numerics is meant, renew it with `make golden` and say why in LOG.md."""
    stored = json.loads((HERE / "trajectory.json").read_text(encoding="utf-8"))
    found = load().trajectory(tmp_path, micro_batch=micro_batch)
    assert not differences(found, stored)
    assert max(found["mismatch/max"]) < 1e-4


@pytest.mark.parametrize("micro_batch", [0, 5])
def test_the_plain_functions_give_the_same(micro_batch: int, tmp_path: Path) -> None:
    """Without a compiler a run takes the same path, up to rounding."""
    for name in ("compiled", "plain"):
        (tmp_path / name).mkdir()
    with native.using(True):
        compiled = load().trajectory(tmp_path / "compiled", micro_batch=micro_batch)
    with native.using(False):
        plain = load().trajectory(tmp_path / "plain", micro_batch=micro_batch)
    assert not differences(compiled, plain)


def test_the_stored_run_does_something() -> None:
    """A trajectory in which nothing is learnt or clipped could not tell right from wrong."""
    stored = json.loads((HERE / "trajectory.json").read_text(encoding="utf-8"))
    assert 0 < stored["reward/mean"][0] + 1 < 1
    for name in ("update/clip_high", "update/clip_low", "knob/par.pos", "update/grad_norm", "update/kl_old"):
        assert max(stored[name]) > 0, name
    assert len(set(stored["entropy/exact"])) == len(stored["step"])


def test_another_seed_is_another_trajectory(tmp_path: Path) -> None:
    stored = json.loads((HERE / "trajectory.json").read_text(encoding="utf-8"))
    assert differences(load().trajectory(tmp_path, seed=1), stored)
