"""pi_old from the sampler's own numbers: no second pass, and the same training up to rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import isotherm
from isotherm.errors import UserError
from isotherm.update import loop
from models import tiny_model

pytestmark = pytest.mark.usefixtures("functions")

SETTINGS = {
    "train": "chain:1", "held_out": "", "prompts": 4, "group": 4, "max_new": 6, "updates": 2, "steps": 3, "lr": 1e-3,
    "eval_every": 0, "dtype": "float32", "signal": "keep", "method": "reinforce_pp + kl_cov(k=0.2)",
}  # fmt: skip


def run(folder: Path, kernels: str, **changes):
    model = tiny_model(folder.parent / folder.name) if not (folder.parent / folder.name / "tiny").exists() else None
    name = str(model or folder.parent / folder.name / "tiny")
    options = {**SETTINGS, "kernels": kernels, "model": name, "out": str(folder / "run"), **changes}
    return isotherm.train(isotherm.Config(**options), quiet=True)


def test_it_trains_alike_without_the_second_pass(tmp_path, monkeypatch, functions):
    usual = run(tmp_path / "usual", functions)
    monkeypatch.setattr(loop, "score_all", lambda *_: pytest.fail("scored again"))
    faster = run(tmp_path / "faster", functions, scored_by="sampler")
    for name in ("reward/mean", "entropy/exact", "update/loss", "update/grad_norm", "update/kl_old"):
        np.testing.assert_allclose(faster.metrics[name], usual.metrics[name], rtol=2e-3, atol=2e-5)
    assert np.nanmax(usual.metrics["mismatch/max"]) < 1e-4
    assert "mismatch/max" not in faster.metrics


def test_a_correction_of_the_sampler_needs_the_trainers_numbers(tmp_path, functions):
    with pytest.raises(UserError, match="so it needs scored_by = trainer"):
        run(tmp_path / "run", functions, scored_by="sampler", mismatch_cap=2.0)
