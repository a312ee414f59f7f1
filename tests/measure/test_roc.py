from __future__ import annotations

import numpy as np
import pytest

from isotherm.measure import roc

SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])
LABEL = np.array([True, True, False, True, False, False])


def test_area_counts_the_pairs_in_the_right_order():
    """Of 9 pairs only (0.6, 0.7) is in the wrong order; a tie counts half."""
    assert roc.area(SCORE, LABEL) == pytest.approx(8 / 9)
    assert roc.area(-SCORE, LABEL) == pytest.approx(1 / 9)
    assert roc.area(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert np.isnan(roc.area(SCORE, np.ones(6, bool)))


def test_curve_goes_from_no_alarm_to_all_and_has_that_area():
    false, found, thresholds = roc.curve(SCORE, LABEL)
    np.testing.assert_allclose(false, [0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(found, [0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1])
    assert thresholds[0] == np.inf
    assert np.trapezoid(found, false) == pytest.approx(roc.area(SCORE, LABEL))


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0.75), (0.34, 0.5), (0.5, 0.5), (1.0, 0.2)])
def test_threshold_is_the_lowest_at_that_rate(rate: float, expected: float):
    threshold = roc.threshold_at(SCORE, LABEL, rate)
    assert threshold == pytest.approx(expected)
    assert (SCORE[~LABEL] >= threshold).mean() <= rate


def test_a_threshold_exists_where_the_best_score_is_a_false_one():
    threshold = roc.threshold_at(np.array([3.0, 2.0]), np.array([False, True]), 0.0)
    assert threshold > 3


def test_interval_solves_its_equation_and_has_a_width_at_one():
    """m = n: V(t) = t (1 - t) / n^2 (1 + (n - 1) ((1 - t) / (2 - t) + t / (1 + t)))."""
    low, high = roc.area_interval(0.8, 20, 20)
    for t in (low, high):
        v = t * (1 - t) / 400 * (1 + 19 * ((1 - t) / (2 - t) + t / (1 + t)))
        assert (0.8 - t) ** 2 == pytest.approx(roc.Z**2 * v, rel=0.01)
    assert roc.area_interval(1.0, 20, 20)[0] < 0.95
    assert roc.area_interval(1.0, 20, 20)[1] == 1.0


def test_interval_covers_the_area_of_two_normal_kinds():
    """Scores N(1, 1) against N(0, 1): the area is Phi(1 / sqrt 2) = .7602."""
    rng, label = np.random.default_rng(0), np.arange(60) < 25
    held = 0
    for _ in range(400):
        low, high = roc.area_interval(roc.area(rng.standard_normal(60) + label, label), 25, 35)
        held += low <= 0.7602 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_the_difference_of_a_score_to_itself_is_nothing_and_to_noise_is_something():
    rng, label = np.random.default_rng(0), np.arange(80) % 2 == 0
    good, noise = label + 0.5 * rng.standard_normal(80), rng.standard_normal(80)
    assert roc.difference_interval(good, good, label, draws=50) == (0, 0)
    assert roc.difference_interval(good, noise, label, draws=400)[0] > 0.2
