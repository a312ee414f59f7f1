"""Correlations, slopes and errors of predictions, against numbers worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from isotherm.measure.agreement import STATISTICS, agreement, ranks


def sample(steps=30, per=40, noise=0.5, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(0.3, 1, steps * per)
    return x, 2 * x + noise * random.normal(size=steps * per), np.repeat(np.arange(steps), per)


def test_against_scipy():
    x, y, step = sample()
    found = {name: value for name, (value, _, _) in agreement(x, y, step).items()}
    b = (x @ y) / (x @ x)
    assert found["scale"] == pytest.approx(b)
    assert found["pearson"] == pytest.approx(stats.pearsonr(x, y)[0])
    assert found["spearman"] == pytest.approx(stats.spearmanr(x, y)[0])
    assert found["slope"] == pytest.approx(np.polyfit(b * x, y, 1)[0])
    assert found["error"] == pytest.approx(np.sqrt(np.mean((y - b * x) ** 2)))
    assert found["relative_error"] == pytest.approx(np.sqrt(np.sum((y - b * x) ** 2) / np.sum(y**2)))
    early, late = step < 15, step >= 15
    b = (x[early] @ y[early]) / (x[early] @ x[early])
    assert found["held_out"] == pytest.approx(np.sqrt(np.sum((y - b * x)[late] ** 2) / np.sum(y[late] ** 2)))


def test_a_prediction_that_is_right_and_one_that_says_nothing():
    x, y, step = sample(noise=0)
    found = agreement(x, y, step)
    assert found["scale"] == pytest.approx((2, 2, 2))
    assert found["pearson"] == pytest.approx((1, 1, 1))
    assert found["relative_error"][0] == pytest.approx(0, abs=1e-7)
    noise = np.random.default_rng(1).normal(size=len(x))
    value, low, high = agreement(noise, y, step)["pearson"]
    assert low < 0 < high
    assert abs(value) < 0.1


def test_a_scale_that_is_given_is_kept():
    x, y, step = sample(noise=0)
    found = agreement(x, y, step, scale=1.0)
    assert found["scale"] == (1, 1, 1)
    assert found["slope"][0] == pytest.approx(2)
    assert found["relative_error"][0] == pytest.approx(0.5)
    assert found["held_out"][0] == pytest.approx(0.5)


def test_intervals_are_over_steps_and_cover():
    """Noise that a step shares: 95 % intervals hold the true scale in 19 of 20 trials, ones over tokens would not."""
    inside, trials, steps = 0, 100, 40
    for seed in range(trials):
        random = np.random.default_rng(seed)
        x, step = random.normal(1, 0.2, steps * 20), np.repeat(np.arange(steps), 20)
        y = 2 * x + random.normal(size=steps)[step]
        _, low, high = agreement(x, y, step, draws=200)["scale"]
        inside += low < 2 < high
    assert 85 <= inside <= 100


def test_ranks_share_ties():
    values = np.array([3.0, 1.0, 3.0, 2.0, 3.0])
    assert (ranks(values) + 1).tolist() == stats.rankdata(values).tolist()


@pytest.mark.parametrize("count", [0, 1])
def test_too_little_to_tell_is_nan(count):
    found = agreement(np.ones(count), np.ones(count), np.zeros(count))
    assert found.keys() == set(STATISTICS)
    assert np.isnan(found["pearson"]).all()


def test_what_is_not_finite_is_left_out():
    x, y, step = sample()
    bad = y.copy()
    bad[::7] = np.nan
    keep = np.isfinite(bad)
    assert agreement(x, bad, step)["scale"] == agreement(x[keep], y[keep], step[keep])["scale"]
