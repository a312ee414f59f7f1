"""Every form finds its own coefficients, and wins on rows made by it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from isotherm.errors import UserError
from isotherm.measure.laws.rivals import BLOCKS, FIRST, FORMS, LAW, block_errors, difference, line, rivals

H = 0.1 + 1.4 * np.exp(-np.arange(80) / 30)
MADE = {
    LAW: (1 - 0.4 * np.exp(H), {"a": 0.4, "b": 1.0}),
    "c + d H": (0.8 - 0.3 * H, {"c": 0.8, "d": -0.3}),
    "c - d H^p": (0.8 - 0.3 * H**2.5, {"c": 0.8, "d": 0.3, "p": 2.5}),
    "c + d row": (0.1 + 0.005 * np.arange(80), {"c": 0.1, "d": 0.005}),
}


@pytest.mark.parametrize("name", MADE)
def test_a_form_finds_its_coefficients_and_wins(name):
    reward, planted = MADE[name]
    found = {x.name: x for x in rivals(H, reward)}
    assert list(found) == list(FORMS)
    assert found[name].parameters == pytest.approx(planted, rel=1e-3)
    assert found[name].held_out < 1e-3
    winner = {n for n, x in found.items() if x.held_out <= found[name].held_out}
    assert winner <= {name, "c - d H^p"}  # with p = 1 the power is the line in H


def test_the_last_value_is_the_mean_of_the_last_eighth():
    last = rivals(H, np.arange(80.0))[-1]
    assert (last.name, last.parameters) == ("last value", {"c": pytest.approx(74.5)})


def test_held_out_rows_come_after_those_fitted_to():
    """16 rows 0..15 in eight blocks of two: the last value is wrong by 1 and 2 on the next block."""
    row = np.arange(16.0)
    errors = block_errors(FORMS["last value"], row, row, row)
    assert len(errors) == BLOCKS - FIRST
    assert errors[0] == pytest.approx((1 + 4) / 2)
    assert errors[-1] == pytest.approx((1 + 4) / 2)


def test_a_difference_has_a_t_interval():
    x = np.array([1.0, 2, 4, 8, 16])
    told, reference = difference(x), ttest_1samp(x, 0).confidence_interval(0.95)
    assert (told.value, told.low, told.high) == pytest.approx((6.2, reference.low, reference.high))


def test_a_line_by_hand():
    """Through (0, 1), (1, 2), (2, 6): d = 5 / 2, c = 3 - 5 / 2."""
    assert line(np.array([0.0, 1, 2]), np.array([1.0, 2, 6])) == pytest.approx((0.5, 2.5))
    assert line(np.ones(3), np.array([1.0, 2, 6])) == pytest.approx((3, 0))


def test_a_small_range_leaves_law_and_line_undecided():
    """On H .09-.36 e^H and H are correlated at .9994."""
    h = np.linspace(0.36, 0.09, 200)
    assert np.corrcoef(h, np.exp(h))[0, 1] > 0.998
    decided = 0
    for seed in range(20):
        reward = 1 - 0.4 * np.exp(h) + 0.02 * np.random.default_rng(seed).standard_normal(200)
        found = rivals(h, reward)
        decided += not found[1].behind.low < 0 < found[1].behind.high
        assert found[1].held_out == pytest.approx(found[0].held_out, rel=0.05)
        assert found[0].behind is None
    assert decided <= 4


def test_a_wide_range_decides():
    rng = np.random.default_rng(0)
    h = 0.1 + 2.4 * np.exp(-np.arange(200) / 60)
    found = {x.name: x for x in rivals(h, 1 - 0.1 * np.exp(h) + 0.005 * rng.standard_normal(200))}
    assert found["c + d H"].behind.low > 0
    assert found["last value"].held_out > found[LAW].held_out


@pytest.mark.parametrize(
    ("h", "r", "said"),
    [(H[:31], H[:31], "at least 32 rows"), (np.full(40, 0.2), H[:40], "too small"), (H, H[1:], "lengths differ")],
)
def test_what_cannot_be_compared_is_a_sentence(h, r, said):
    with pytest.raises(UserError, match=said):
        rivals(h, r)


def test_entropy_may_reach_zero():
    h = np.maximum(np.linspace(1, -0.5, 60), 0)
    assert all(np.isfinite([x.rmse, x.held_out]).all() for x in rivals(h, 1 - 0.1 * h))
