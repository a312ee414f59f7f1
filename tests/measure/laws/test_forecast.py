"""Forecasts of planted runs: what they use, what they hold, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from isotherm.errors import UserError
from isotherm.measure.laws.fit import fit
from isotherm.measure.laws.forecast import forecast, given, persistence

STEP = np.arange(1, 201)


def planted(seed: int = 0, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    h = 0.12 + 0.7 * np.exp(-(STEP - 1) / 30)
    seen = h * (1 + noise * rng.standard_normal(200))
    return seen, 0.9 - 0.4 * np.exp(h) + noise * rng.standard_normal(200)


def test_without_noise_the_end_is_met():
    h, r = planted(noise=0.0)
    found = forecast(STEP, h, r, share=0.4)
    assert found.cut == 80
    assert found.observed == pytest.approx(r[-1])
    assert found.given_entropy.value == pytest.approx(r[-1], abs=1e-6)
    assert found.end_to_end.value == pytest.approx(r[-1], abs=2e-3)
    assert found.entropy.value == pytest.approx(h[-1], abs=2e-3)
    assert found.rest_rmse < 1e-6


def test_only_the_first_part_is_used():
    """Rewards after the cut change nothing but `observed`; entropies after it only what is given H."""
    h, r = planted()
    found = forecast(STEP, h, r, share=0.3)
    later = np.where(STEP > 61, 0.0, r)
    blind = forecast(STEP, h, later, share=0.3)
    assert (blind.end_to_end, blind.given_entropy) == (found.end_to_end, found.given_entropy)
    assert blind.observed == 0
    other = forecast(STEP, np.where(STEP > 61, 0.5, h), r, share=0.3)
    assert other.end_to_end == found.end_to_end
    assert other.given_entropy != found.given_entropy
    assert found.law.a == fit(h[:60], r[:60]).a


def test_a_run_that_goes_on_has_no_later_entropy():
    h, r = planted()
    found = forecast(STEP[:60], h[:60], r[:60], until=200)
    assert found.given_entropy is None
    assert (found.observed, found.rest_rmse) == (None, None)
    assert found.end_to_end == forecast(STEP, h, r, share=59.5 / 199).end_to_end
    assert found.end_to_end.low < r[-20:].mean() < found.end_to_end.high


def test_given_entropy_by_hand():
    """b - a e^H and 1.645 sqrt(x'Vx + noise), x = (-e^H, 1)."""
    h, r = planted()
    law = fit(h, r)
    found, x = given(law, np.array([0.3]), 1), np.array([-np.exp(0.3), 1])
    error = 1.6448536269514722 * (x @ law.covariance @ x + law.noise.of_mean(1)) ** 0.5
    expected = law.b - law.a * np.exp(0.3)
    assert (found.value, found.low, found.high) == pytest.approx((expected, expected - error, expected + error))


def test_a_mean_over_more_rows_is_less_noisy():
    h, r = planted(noise=0.04)
    one, ten = (forecast(STEP, h, r, share=0.4, over=n) for n in (1, 10))
    assert ten.over == 10
    assert ten.observed == pytest.approx(r[-10:].mean())
    assert ten.given_entropy.high - ten.given_entropy.low < one.given_entropy.high - one.given_entropy.low


def test_persistence_by_hand():
    """R = 0, 1, 2, ...: changes over s rows are s^2 for s = 1..4; c + q s by least squares is q = 5, c = -5, held at
    c = 0: q = (1 + 8 + 27 + 64) / (1 + 4 + 9 + 16) = 10 / 3."""
    found = persistence(np.arange(10.0), np.arange(10.0), 15.0, 1)
    half = 1.6448536269514722 * (10 / 3 * 6) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((9, 9 - half, 9 + half))


def test_persistence_of_white_noise_does_not_grow():
    r = np.random.default_rng(0).standard_normal(400)
    near, far = (persistence(np.arange(400.0), r, end, 1) for end in (400.0, 4000.0))
    assert near.high - near.low == pytest.approx(2 * 1.645 * 2**0.5, rel=0.1)
    assert far.high - far.low < 1.5 * (near.high - near.low)


def test_the_interval_is_narrower_than_persistence():
    for seed in range(5):
        found = forecast(STEP, *planted(seed), share=0.3)
        wide = found.persistence.high - found.persistence.low
        assert found.end_to_end.high - found.end_to_end.low < wide
        assert found.given_entropy.high - found.given_entropy.low < wide


def test_a_long_run_is_forecast_by_windows():
    t = np.arange(1, 3001)
    h = 0.12 + 0.7 * np.exp(-t / 500)
    found = forecast(t, h, 0.9 - 0.4 * np.exp(h), share=0.3, over=5)
    assert (found.law.window, found.over) == (4, 8)
    assert found.end_to_end.value == pytest.approx(0.9 - 0.4 * np.exp(h[-1]), abs=2e-3)


def test_a_seed_gives_the_same_forecast_again():
    h, r = planted()
    one, two, other = (forecast(STEP, h, r, share=0.3, seed=s).end_to_end for s in (0, 0, 1))
    assert one == two != other


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"share": 0.0}, "share of the steps to forecast from must lie in"),
        ({"share": 1.5}, "share of the steps to forecast from must lie in"),
        ({"share": float("nan")}, "share of the steps to forecast from must lie in"),
        ({"share": 0.02}, "at least 12 rows, but there are 4"),
        ({"until": 0.5}, "must be a step after the first one"),
        ({"until": float("inf")}, "must be a step after the first one"),
        ({"over": 0}, "at least one row"),
        ({"over": 100, "share": 0.3}, "more than half of the rows"),
    ],
)
def test_what_cannot_be_forecast_is_a_sentence(how, said):
    with pytest.raises(UserError, match=said):
        forecast(STEP, *planted(), **how)


def test_a_first_part_without_range_is_refused():
    h = 0.5 + 0.01 * np.random.default_rng(1).standard_normal(200)
    with pytest.raises(UserError, match="range of H is too small"):
        forecast(STEP, h, planted()[1], share=0.3)


@settings(max_examples=25, deadline=None)
@examples(
    st.lists(st.tuples(st.floats(1e-6, 1e4), st.floats(0, 50), st.floats(-1e6, 1e6)), min_size=10, max_size=30),
    st.floats(0.3, 1),
)
def test_any_rows_give_finite_intervals_or_a_sentence(rows, share):
    t, h, r = np.cumsum([x[0] for x in rows]), [x[1] for x in rows], [x[2] for x in rows]
    try:
        found = forecast(t, h, r, share=share)
    except UserError:
        return
    for estimate in (found.end_to_end, found.persistence, found.entropy):
        assert np.isfinite([estimate.low, estimate.value, estimate.high]).all()
        assert estimate.low <= estimate.value <= estimate.high
