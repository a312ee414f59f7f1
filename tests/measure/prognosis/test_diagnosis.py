"""Drivers beside the pace of the fall, parts of the change, and what would move it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from planted import columns, planted, written

from isotherm.measure.logs import read
from isotherm.measure.prognosis.diagnosis import diagnosis
from isotherm.measure.prognosis.drivers import ranks, related, slope
from isotherm.measure.prognosis.moves import HOLDING, elsewhere, missing, moves
from isotherm.objective.published import METHODS


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return read(planted(tmp_path_factory.mktemp("log") / "log.jsonl"))


def of(log, tool: str, **settings):
    return dataclasses.replace(log, source=dataclasses.replace(log.source, tool=tool), settings=settings)


def test_ranks_and_slopes_by_hand():
    np.testing.assert_array_equal(ranks(np.array([5.0, 1.0, 5.0, 9.0])), [1.5, 0, 1.5, 3])
    assert slope(np.array([1.0, 2, 4]), np.array([3.0, 5, 9])) == pytest.approx(2)


def world(rows: int = 640, seed: int = 1):
    """Entropy falls by a driver that changes every 20 rows, whatever the step."""
    random = np.random.default_rng(seed)
    driver = np.repeat(random.uniform(0, 1, rows // 20), 20)
    return np.arange(rows), 5 - np.cumsum(driver) / rows, driver, random


def test_a_driver_of_the_pace_is_found_with_its_sign():
    step, entropy, driver, _ = world()
    found, stretches = related(step, entropy, driver, 1)
    assert stretches == 32
    assert found.value > 0.95
    assert found.low > 0.8
    against, _ = related(step, entropy, -driver, 1)
    assert against.value == pytest.approx(-found.value)


def test_a_common_trend_is_no_relation():
    """Pace and driver both fall over the steps, and have nothing else in common: the interval holds 0 in most runs."""
    held = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        t = np.arange(320)
        entropy = np.exp(-t / 200) + random.normal(0, 0.002, 320)
        driver = 1 - t / 400 + random.normal(0, 0.1, 320)
        found, _ = related(t, entropy, driver, 1)
        held += found.low <= 0 <= found.high
    assert held >= 34


def test_more_drivers_have_wider_intervals():
    step, entropy, driver, random = world()
    noisy = driver + random.normal(0, 1, len(driver))
    one, ten = (related(step, entropy, noisy, of)[0] for of in (1, 10))
    assert one.value == ten.value
    assert ten.low < one.low
    assert ten.high > one.high


def test_too_few_rows_and_what_does_not_vary_have_no_relation():
    step, entropy, driver, _ = world()
    assert related(step[:47], entropy[:47], driver[:47], 1) == (None, 11)
    assert related(step, entropy, np.full(640, 0.2), 1)[0] is None
    assert related(step, entropy, step.astype(float), 1)[0] is None


def test_drivers_of_a_log(log):
    found = {d.name: d for d in diagnosis(log).drivers}
    assert list(found) == ["update/clip", "update/lr", "update/grad_norm"]
    assert found["update/lr"].relation is None
    assert found["update/clip"].key == "actor/pg_clipfrac"
    assert found["update/clip"].ends.mean == pytest.approx(columns()["actor/pg_clipfrac"].mean())


def test_parts_of_the_change_are_sums_over_the_run(tmp_path):
    each = {"dynamics/sign/positive": -0.3, "dynamics/sign/negative": 0.1, "dynamics/quadrant/I": -0.2}
    rows = [{"step": i, "entropy/exact": 1 / i, **each} for i in range(1, 11)]
    found = diagnosis(read(written(tmp_path / "log.jsonl", rows))).parts
    assert found["sign"] == pytest.approx({"positive": -3, "negative": 1})
    assert found["quadrant"] == pytest.approx({"I": -2})


def test_settings_are_those_of_the_log_s_tool(log):
    verl = {move.name: move.settings for move in moves(log)}
    assert verl["entropy_bonus"] == {"verl": "actor_rollout_ref.actor.entropy_coeff=0.001"}
    assert "actor_rollout_ref.actor.clip_ratio_high=0.28" in verl["clip_higher"]["verl"]
    assert missing(log) == ["adaptive_bonus", "par", "steer"]
    trl = {move.name: move.settings for move in moves(of(log, "TRL"))}
    assert trl["clip_higher"] == {"TRL": "GRPOConfig(..., epsilon=0.2, epsilon_high=0.28)"}
    assert "kl_cov" not in trl
    assert set(moves(of(log, "slime"))[0].settings) <= {"verl", "TRL"}
    ours = {move.name: move.settings for move in moves(of(log, "isotherm"))}
    assert ours["kl_cov"]["isotherm"].startswith("isotherm train --method 'kl_cov(k=0.002")


@pytest.mark.parametrize("tool", ["verl", "TRL"])
def test_no_placeholder_and_no_dual_clip_of_0_is_left(tool):
    for name in HOLDING:
        text = elsewhere(METHODS[name], tool)
        values = re.findall(r"=([^,\s)]+)", text)
        assert not set(values) & set(METHODS[name].parameters)
        assert "clip_ratio_c=0" not in text
        assert "delta=0," not in text
        assert all(key.startswith("actor_rollout_ref.") for key in re.findall(r"(\S+)=", text) if tool == "verl")


def test_a_clip_that_stops_nothing_comes_last(log):
    none = dataclasses.replace(log, series={**log.series, "update/clip": np.zeros(len(log.step))})
    found = moves(none)
    assert found[-1].name == "clip_higher"
    assert found[-1].idle
    assert "next to nothing to act on" in found[-1].here
    assert moves(log)[0].name == "clip_higher"
    assert "0.21 % of the tokens" in moves(log)[0].here


def test_present_settings_are_said(log):
    said = {move.name: move.here for move in moves(of(log, "verl", entropy_coef=0.01, temperature=1.0, beta=True))}
    assert said["entropy_bonus"] == "The log's settings have entropy_coef 0.01."
    assert said["sampling.temperature"].endswith("temperature 1.0.")
    assert said["reference_kl"] == ""
