"""A run of ours whose updates were measured token by token, by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folders import make_run

import isotherm
from isotherm.report.dynamics import NUMBERS, WORDS
from isotherm.report.prognosis import page


@pytest.fixture
def folder(tmp_path):
    path = make_run(tmp_path / "run")
    (path / "dynamics").mkdir()
    table = {name: np.zeros(2) for name in NUMBERS} | {name: ["I", "II"] for name in WORDS}
    table |= {"step": [5, 5], "advantage": [1.0, -1.0], "measured": [-0.3, 0.1]}
    pq.write_table(pa.table(table), path / "dynamics" / "step-000005.parquet")
    return path


def test_measured_parts_by_hand(folder):
    found = isotherm.diagnose(folder)
    assert found.measured_steps == 1
    assert found.measured["sign"] == pytest.approx({"negative": 0.05, "positive": -0.15})
    said = " ".join(page.text(found).split())
    assert (
        "the measured change of entropy in 1 step with measured updates is positive -75 %, negative +25 % of all that "
        "was pushed, on balance 50 % downwards"
    ) in said


def test_damaged_measurements_are_a_sentence(folder):
    (folder / "dynamics" / "step-000005.parquet").write_bytes(b"PAR1 torn")
    found = isotherm.diagnose(folder)
    assert found.measured == {}
    assert found.refusals["measured"].endswith(".")
    assert found.refusals["measured"] in " ".join(page.text(found).split())


def test_other_runs_have_none(tmp_path):
    assert isotherm.diagnose(make_run(tmp_path / "run")).measured == {}
