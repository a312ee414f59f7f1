"""A control that looks at a number of its own: SIREN's anchor is the selected entropy of the first step."""

from __future__ import annotations

import json

import numpy as np
import pytest

from isotherm import api
from isotherm.update import loop
from models import tiny_model


def test_the_anchor_is_what_the_first_step_measured(tmp_path, monkeypatch):
    seen = []
    step = loop.optimizer_step
    monkeypatch.setattr(loop, "optimizer_step", lambda *given: seen.append(step(*given)) or seen[-1])
    model = str(tiny_model(tmp_path))
    run = api.train(
        model=model, method="siren + aent", train="chain:1", held_out="", prompts=4, group=4, max_new=8, steps=3,
        updates=2, signal="keep", eval_every=0, eval_problems=0, out=str(tmp_path / "run"), quiet=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["step"] > 0]
    own = [outcome.measures["siren.anchor"] for outcome in seen]
    assert len(own) == 6
    assert [row["knob/siren.anchor"] for row in rows] == [-1.0, *[pytest.approx(np.mean(own[:2]))] * 2]
    assert 0 < own[0] < np.log(99)
    clamped = [float(np.mean([o.measures["aent.c"] for o in seen[i : i + 2]])) for i in (0, 2)]
    expected = [1e-3]
    for h in clamped:
        expected.append(min(0.01, max(0.0, expected[-1] + 1e-3 * (0.2 - h))))
    assert [row["knob/aent.c"] for row in rows] == pytest.approx(expected)
