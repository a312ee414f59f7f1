"""The curves of evaluations, from the columns that are stored."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folders import make_run

from isotherm.report.panels import panels
from isotherm.report.profiles import lines
from isotherm.runs import load_run


def write(folder, step: int, rows: list[tuple[str, list[float], list[float]]]) -> None:
    table = [{"verdict": v, "logprob": logprob, "entropy": entropy} for v, logprob, entropy in rows]
    schema = pa.schema({"verdict": pa.string(), "logprob": pa.list_(pa.float32()), "entropy": pa.list_(pa.float32())})
    pq.write_table(pa.Table.from_pylist(table, schema), folder / "rollouts" / f"eval-{step:06d}.parquet")


def test_curves_by_hand(tmp_path):
    folder = make_run(tmp_path / "a", steps=4)
    sure, unsure = [float(np.log(0.95))] * 2, [float(np.log(0.25))]
    write(folder, 0, [("wrong", sure, [0.5, 1.0])] * 10)
    rows = [("correct", sure, [0.2, 0.4])] * 9 + [("wrong", sure, [0.2, 0.4]), ("error", sure, [0.2, 0.4])]
    write(folder, 4, [*rows, ("wrong", [], []), *[("wrong", unsure, [0.8])] * 9])
    (before, after), (start, end) = lines(load_run(folder))
    assert (before.before, after.before, start.before, end.before) == (True, False, True, False)
    assert before.y.tolist() == [0]
    assert after.x == pytest.approx([0.95])  # nine unsure responses are too few for a point
    assert after.y.tolist() == [0.9]
    assert start.x.tolist() == [5, 55]
    assert start.y.tolist() == [0.5, 1.0]
    assert end.y == pytest.approx([(11 * 0.2 + 9 * 0.8) / 20, 0.4])


def test_a_single_evaluation_is_drawn_once(tmp_path):
    folder = make_run(tmp_path / "a", steps=4)
    (folder / "rollouts" / "eval-000000.parquet").unlink()
    reliability, along = lines(load_run(folder))
    assert [line.before for line in (*reliability, *along)] == [False, False]


def test_runs_without_evaluations_have_no_such_figure(tmp_path):
    folder = make_run(tmp_path / "a", steps=4)
    for path in (folder / "rollouts").iterdir():
        path.unlink()
    assert lines(load_run(folder)) == ([], [])
    assert "Reliability" not in [panel.title for panel in panels([load_run(folder)])]
    other = load_run(make_run(tmp_path / "b", steps=4))
    assert "Reliability" in [panel.title for panel in panels([load_run(folder), other])]
    write(folder, 0, [])
    (empty,), (nothing,) = lines(load_run(folder))
    assert (len(empty.x), len(nothing.x)) == (0, 0)
