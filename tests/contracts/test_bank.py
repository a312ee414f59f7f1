"""The committed bank of runs, and that the early warning's constants are those that it gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure.warning import FITS, collapse_risk, collapsed
from isotherm.measure.watched import watched

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bank(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    import bank  # pyright: ignore[reportMissingImports]

    return bank


@pytest.fixture
def bench(bank) -> Any:
    import warning  # pyright: ignore[reportMissingImports]

    return warning


def test_the_bank_is_what_it_says(bank):
    runs = bank.load()
    assert len(runs) >= 100
    assert len({json.dumps(r.settings, sort_keys=True) for r in runs}) == len(runs)
    assert bank.BANK.stat().st_size < 3e6
    for run in runs:
        assert run.settings in bank.grid()
        assert run.made["commit"]
        assert run.made["packages"]["torch"]
        assert list(run.metrics) == list(bank.COLUMNS)
        np.testing.assert_array_equal(run.metrics["step"], np.arange(1, len(run.metrics["step"]) + 1))
        assert (run.metrics["entropy/exact"] > 0).all()


def test_the_label_comes_out_either_way(bank):
    label = [collapsed(run.metrics["entropy/exact"]) for run in bank.load()]
    assert 0.15 < np.mean(label) < 0.85


def test_every_setting_has_an_even_and_an_odd_seed(bank):
    settings = [json.dumps({**s, "seed": s["seed"] // 2}, sort_keys=True) for s in bank.grid()]
    assert len(settings) == 2 * len(set(settings)) >= 120


def test_runs_that_are_there_are_not_made_again(bank):
    runs = [bank.Saved(settings, {}, {}) for settings in bank.grid()]
    assert bank.missing(runs, bank.grid()) == []
    assert bank.missing(runs[1:], bank.grid()) == [bank.grid()[0]]


def test_what_is_saved_comes_back(bank, tmp_path):
    runs = bank.load()[:3]
    runs[1].metrics = {name: x[:7] for name, x in runs[1].metrics.items()}
    bank.save(runs, tmp_path / "runs.parquet")
    for old, new in zip(runs, bank.load(tmp_path / "runs.parquet"), strict=True):
        assert (old.settings, old.made) == (new.settings, new.made)
        for name in bank.COLUMNS:
            np.testing.assert_array_equal(old.metrics[name], new.metrics[name])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all" * 99])
def test_a_damaged_bank_is_a_sentence(bank, tmp_path, content):
    path = tmp_path / "runs.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is no bank of runs"):
        bank.load(path)
    path.write_bytes(bank.BANK.read_bytes()[:-1000])
    with pytest.raises(UserError, match="is no bank of runs"):
        bank.load(path)


def test_a_run_is_made_and_its_folder_deleted(bank, tmp_path, monkeypatch):
    monkeypatch.setattr(bank.tempfile, "tempdir", str(tmp_path))
    settings = {**bank.grid()[0], "steps": 2, "prompts": 2}
    run = bank.make(settings, {"commit": "here"})
    assert (run.settings, run.made["commit"], run.made["stopped"]) == (settings, "here", None)
    assert run.metrics["step"].tolist() == [1, 2]
    assert np.isfinite(run.metrics["entropy/exact"]).all()
    assert list(tmp_path.glob("bank-*")) == []


@pytest.fixture
def record() -> dict[str, Any]:
    return json.loads((BENCH / "results" / "warning.json").read_text(encoding="utf-8"))


@pytest.fixture
def runs(bank, record) -> list[Any]:
    """Those that the record was made from: the bank may have grown since."""
    return bank.load()[: record["runs"]]


def test_the_constants_are_those_that_the_even_seeds_give_and_the_odd_ones_measure(runs, bench):
    for fit in FITS:
        assert bench.evaluate(runs, fit.share, bench.WATCHED)[0] == fit


def test_the_odd_seeds_have_no_say_in_the_fit(runs, bench):
    even, _ = bench.halves(runs, 0.2)
    assert set(even.of("seed") % 2) == {0}
    fit = bench.fitted(even, 0.2, bench.WATCHED)
    assert (fit.weights, fit.bias, fit.threshold) == (FITS[1].weights, FITS[1].bias, FITS[1].threshold)


def test_the_recorded_results_are_those_of_the_bank(runs, bench, record):
    """The record's rates at the first 20 %, counted again from the bank run by run through the package's own call."""
    stated = next(r for r in record["shares"] if r["share"] == 0.2)
    alarms: dict[bool, list[bool]] = {True: [], False: []}
    for run in runs:
        h = run.metrics["entropy/exact"].astype(float)
        odd = run.settings["seed"] % 2 and run.settings["seed"] >= bench.OWN
        if odd and bench.whole(run) and h[10:13].mean() >= 0.5 * h[:3].mean():
            early = {name: x[:13] for name, x in run.metrics.items()}
            alarms[collapsed(h)].append(collapse_risk(early).alarm)
    assert stated["detected"]["rate"] == pytest.approx(np.mean(alarms[True]))
    assert stated["false positives"]["rate"] == pytest.approx(np.mean(alarms[False]))


def test_logistic_regression_is_at_its_maximum(bench):
    """The gradient of the ridged log-likelihood is 0 there."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2)) * (3.0, 0.1) + 1
    y = (x[:, 0] + 3 * rng.standard_normal(60) > 1).astype(float)
    mean, scale, weights = bench.logistic(x, y)
    z = (x - mean) / scale
    rest = y - 1 / (1 + np.exp(-weights[0] - z @ weights[1:]))
    np.testing.assert_allclose(rest.sum(), 0, atol=1e-9)
    np.testing.assert_allclose(z.T @ rest, bench.RIDGE * weights[1:], atol=1e-9)


def test_the_baseline_is_the_entropy_now_over_that_of_the_start(bench):
    run = watched({"entropy": [0.3, 0.4, 0.5, 9.0, 0.1, 0.2, 0.3]})
    assert bench.fallen(run) == pytest.approx(np.log(0.4 / 0.2))
