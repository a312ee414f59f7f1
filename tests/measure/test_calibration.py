"""Confidence, reliability, ECE, Brier score and the gap on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from isotherm.measure.calibration import (
    brier,
    ece,
    logprob_gap,
    mean_logprob,
    reliability,
    sequence_probability,
    token_probability,
    vote_share,
)

LOGPROB = np.log([[0.5, 0.5, 1.0], [0.25, 1.0, 1.0]]).astype(np.float32)  # the second has one token
LENGTH = np.array([2, 1])


def test_three_notions_of_confidence():
    assert sequence_probability(LOGPROB) == pytest.approx([0.25, 0.25])
    assert token_probability(LOGPROB, LENGTH) == pytest.approx([0.5, 0.25])
    assert mean_logprob(LOGPROB, LENGTH) == pytest.approx(np.log([0.5, 0.25]))
    shares = vote_share(["a", "b", "a", None, "a", None], np.array([0, 0, 0, 0, 1, 1]))
    assert shares.tolist() == [0.5, 0.25, 0.5, 0, 0.5, 0]


def test_curve_ece_and_brier_by_hand():
    confidence = np.array([0.1, 0.3, 0.4, 0.9, 1.0, 0.0])
    correct = np.array([False, True, False, True, True, False])
    curve = reliability(confidence, correct, bins=2)
    assert curve.edges.tolist() == [0, 0.5, 1]
    assert curve.count.tolist() == [4, 2]
    assert curve.confidence == pytest.approx([0.2, 0.95])
    assert curve.accuracy == pytest.approx([0.25, 1])
    assert ece(curve) == pytest.approx(4 / 6 * 0.05 + 2 / 6 * 0.05)
    assert brier(confidence, correct) == pytest.approx((0.01 + 0.49 + 0.16 + 0.01) / 6)


def test_a_bin_has_its_upper_edge_and_may_be_empty():
    curve = reliability(np.array([0.0, 0.1, 0.1000001, 1.0]), np.ones(4, bool))
    assert curve.count.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert np.isnan(curve.accuracy[2:9]).all()
    assert ece(curve) == pytest.approx((2 * 0.95 + 0.8999999 + 0) / 4)


def test_a_calibrated_forecast_has_no_error_beyond_chance():
    random = np.random.default_rng(0)
    confidence = random.random(200_000)
    correct = random.random(200_000) < confidence
    assert ece(reliability(confidence, correct)) < 0.01
    assert brier(confidence, correct) == pytest.approx(1 / 6, abs=0.002)  # E p (1 - p)
    assert ece(reliability(confidence**2, correct)) == pytest.approx(1 / 6, abs=0.01)  # E (p - p^2)


def test_gap_by_hand():
    assert logprob_gap(np.array([-0.1, -0.3, -0.9]), np.array([True, True, False])) == pytest.approx(0.7)
    assert np.isnan(logprob_gap(np.array([-0.1, -0.3]), np.array([True, True])))
    assert np.isnan(logprob_gap(np.zeros(0), np.zeros(0, bool)))


def test_nothing_to_measure_is_nan():
    empty = np.zeros(0)
    assert np.isnan(brier(empty, empty))
    assert np.isnan(ece(reliability(empty, empty)))
