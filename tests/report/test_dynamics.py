"""What a run's measured updates say together, on tokens made up so that the answers are known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folders import MEASURED, SCALE, made_up, write_measured

from isotherm.errors import UserError
from isotherm.measure.dynamics import ESTIMATORS
from isotherm.report.dynamics import SPLITS, covariance_table
from isotherm.runs import Run

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def run(tmp_path) -> Run:
    write_measured(tmp_path)
    return Run(tmp_path)


def test_the_estimator_that_is_right_is_found(run):
    rows = {(row["level"], row["estimator"]): row for row in run.dynamics().to_pylist()}
    assert rows.keys() == {(lv, e) for lv in ("token", "update") for e in ESTIMATORS} | {("update", "along_step")}
    exact = rows["token", "exact"]
    assert exact["scale"] == pytest.approx(SCALE, rel=0.01)
    assert exact["scale_low"] < SCALE < exact["scale_high"]
    assert exact["pearson"] > 0.95
    assert exact["count"] == 2440
    assert abs(rows["token", "covariance"]["pearson"]) < 0.1
    assert rows["update", "exact"]["count"] == 8
    along = rows["update", "along_step"]
    assert (along["scale"], along["pearson"]) == (1, pytest.approx(1))
    assert along["relative_error"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("by", SPLITS)
def test_the_parts_of_every_split_sum_to_the_whole(run, by):
    rows = run.attribution(by).to_pylist()
    assert len(rows) > 1 or by == "quadrant_published"
    updates = [made_up(step, update, 0.01) for step in MEASURED for update in (0, 1)]
    for name, column in (("predicted", "predicted_exact"), ("penalty", "predicted_penalty"), ("measured", "measured")):
        whole = np.mean([np.mean(u[column]) for u in updates])
        assert sum(row[name] for row in rows) == pytest.approx(whole, rel=1e-9)
    for name in ("tokens", "loss", "gradient"):
        assert sum(row[name] for row in rows) == pytest.approx(1)


@pytest.mark.parametrize("by", SPLITS)
def test_the_parts_in_the_parameters_sum_to_theirs(run, by):
    rows = run.attribution(by, space="parameters").to_pylist()
    assert rows[0].keys() == {by, "tokens", "plain_step", "adam_step"}
    updates = [made_up(step, update, 0.01) for step in MEASURED for update in (0, 1)]
    for name in ("plain_step", "adam_step"):
        assert sum(row[name] for row in rows) == pytest.approx(np.mean([np.mean(u[name]) for u in updates]), rel=1e-9)
    assert [row[by] for row in rows] == [row[by] for row in run.attribution(by).to_pylist()]


def test_a_part_in_the_parameters_by_hand(run):
    updates = [made_up(step, update, 0.01) for step in MEASURED for update in (0, 1)]
    wanted = np.mean([u["adam_step"][u["advantage"] > 0].sum() / len(u["adam_step"]) for u in updates])
    (row,) = (r for r in run.attribution("sign", "parameters").to_pylist() if r["sign"] == "positive")
    assert row["adam_step"] == pytest.approx(wanted)


def test_a_part_by_hand(run):
    updates = [made_up(step, update, 0.01) for step in MEASURED for update in (0, 1)]
    wanted = np.mean([u["measured"][u["advantage"] < 0].sum() / len(u["measured"]) for u in updates])
    (row,) = (row for row in run.attribution("sign").to_pylist() if row["sign"] == "negative")
    assert row["measured"] == pytest.approx(wanted)


def test_the_table_of_covariances(run):
    table = covariance_table(run)
    assert list(table) == [0.0002, 0.002, 0.02, 0.2, 0.5, 1.0]
    assert list(table.values()) == sorted(table.values(), reverse=True)
    tops = [made_up(step, update, 0.01)["covariance"].max() for step in MEASURED for update in (0, 1)]
    assert table[0.0002] == pytest.approx(np.mean(tops))


def test_mistakes_are_sentences(run, tmp_path):
    with pytest.raises(UserError, match="cannot be split by 'colour'; valid are sign, quadrant"):
        run.attribution("colour")
    with pytest.raises(UserError, match="no space 'weights' to attribute in; valid are logits, parameters"):
        run.attribution("sign", space="weights")
    with pytest.raises(UserError, match="has no measured updates; train with measure_every"):
        Run(tmp_path / "nowhere").dynamics()
    path = run.path / "dynamics" / "step-000010.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["adam_step"]), path)
    assert len(run.attribution("sign")) == 3
    with pytest.raises(UserError, match="step 10 at the logits alone; train with --measure-in parameters"):
        run.attribution("sign", space="parameters")
    pq.write_table(table.drop_columns(["family"]), path)
    with pytest.raises(UserError, match=r"measurements of step 10 in .* are damaged: .*family"):
        run.dynamics()
    pq.write_table(table.set_column(2, "position", pa.array(["x"] * len(table))), path)
    with pytest.raises(UserError, match="measurements of step 10"):
        run.dynamics()
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(UserError, match=r"step 10 in .* are damaged: there is no token"):
        run.dynamics()
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="cannot be read"):
        run.dynamics()


def test_every_split_is_told():
    for text in (Run.attribution.__doc__, (DOCS / "attribution.md").read_text(encoding="utf-8")):
        assert text is not None
        assert [split for split in SPLITS if not re.search(rf"\b{split}\b", text)] == []
