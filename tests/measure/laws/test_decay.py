"""The posterior of the fall against integrals, and when entropy will be used up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotherm.errors import UserError
from isotherm.measure.laws.decay import Cells, Falls, falls, shape
from isotherm.measure.laws.exhaustion import exhaustion, quantiles
from isotherm.measure.laws.grid import EACH, EXPONENTS, Grid
from isotherm.measure.laws.noise import STRUCTURES, prior, structures

T = np.arange(100.0)


def test_shapes_by_hand():
    tau, exponent, power = np.array([2.0, 2.0, 2.0]), np.array([1.0, 0.5, 2.0]), np.array([False, False, True])
    assert shape(2.0, tau, exponent, power) == pytest.approx([np.exp(-1), np.exp(-1), 0.25])
    assert shape(8.0, tau, exponent, power) == pytest.approx([np.exp(-4), np.exp(-2), 1 / 25])
    assert shape(0.0, tau, exponent, power) == pytest.approx([1, 1, 1])


def test_the_time_of_a_share_inverts_the_shape():
    one = np.ones(3)
    exponent, power = np.array([1.0, 0.5, 2.0]), np.array([False, False, True])
    drawn = Falls(0.8 * one, 0.2 * one, 7 * one, exponent, power, one, one)
    for k, t in enumerate(drawn.time_of(0.9)):
        assert drawn.entropy(t)[k] == pytest.approx(0.2 + 0.1 * 0.6)
    assert drawn.time_of(0.9)[0] == pytest.approx(7 * np.log(10))


def narrow(low: float, high: float) -> Grid:
    """The whole range of exponents, and tau from low to high."""
    ends = np.log([low, high])
    return Grid((ends[0], ends[1]), EXPONENTS, np.tile(ends, (2, EACH, 1)))


def test_least_squares_and_weights_against_dense_matrices():
    """Weight = prior x |C|^-1/2 |X'C^-1 X|^-1/2 rest^-(n-2)/2 x P(0 < f < 2 max h) x size of the cell."""
    rng = np.random.default_rng(0)
    h = 0.2 + 0.6 * np.exp(-T[:20] / 8) + 0.02 * rng.standard_normal(20)
    grid = narrow(5.0, 20.0)
    g = shape(T[:20, None], grid.tau, grid.exponent, grid.power)
    cells, log = Cells(grid, T[:20], h, len(STRUCTURES)), np.full((16, g.shape[1]), -np.inf)
    some = np.arange(0, g.shape[1], 37)
    for s, c in enumerate(structures(20)[0]):
        i = np.linalg.inv(c * np.outer(cells.scale, cells.scale))
        for k in some:
            x = np.column_stack([1 - g[:, k], g[:, k]])
            v = np.linalg.inv(x.T @ i @ x)
            beta = v @ x.T @ i @ h
            rest = (h - x @ beta) @ i @ (h - x @ beta)
            assert (cells.floor[s, k], cells.start[s, k]) == pytest.approx(beta, rel=1e-6)
            assert cells.error[s, k] == pytest.approx((v[0, 0] * rest / 18) ** 0.5, rel=1e-6)
            log[s, k] = np.log(prior()[s]) + 0.5 * np.log(np.linalg.det(v)) - 9 * np.log(rest)
            log[s, k] += np.log(max(cells.above[s, k] - cells.below[s, k], 1e-300)) - 0.5 * np.linalg.slogdet(c)[1]
    expected, found = np.exp(log - log.max())[:, some], cells.weight[:, some]
    assert found / found.sum() == pytest.approx(expected / expected.sum(), rel=1e-4, abs=1e-12)


def test_draws_given_a_cell_have_its_moments():
    rng = np.random.default_rng(1)
    h = 0.2 + 0.6 * np.exp(-T[:40] / 9) + 0.02 * rng.standard_normal(40)
    grid = narrow(8.0, 10.0)
    cells = Cells(grid, T[:40], h, 1)
    k = int(np.argmin(abs(grid.exponent - 1) + abs(grid.tau - 9) + 10 * grid.power))
    zeros = np.zeros(40_000, dtype=int)
    floor, start, variance = cells.draw(zeros, zeros + k, np.random.default_rng(2))
    spread = (cells.variance[0, k] * 38 / 36) ** 0.5  # a t distribution of 38 degrees of freedom
    assert (floor.mean(), start.mean()) == pytest.approx((cells.floor[0, k], cells.start[0, k]), abs=5e-4)
    assert floor.std() == pytest.approx(spread * cells.ff[0, k] ** 0.5, rel=0.02)
    assert start.std() == pytest.approx(spread * cells.ss[0, k] ** 0.5, rel=0.02)
    assert np.cov(floor, start)[0, 1] == pytest.approx(spread**2 * cells.fs[0, k], rel=0.1)
    assert variance.mean() == pytest.approx(cells.variance[0, k] * 38 / 36, rel=0.02)


def test_a_clear_fall_is_found():
    rng = np.random.default_rng(3)
    h = (0.15 + 0.65 * np.exp(-T / 15)) * (1 + 0.02 * rng.standard_normal(100))
    found = exhaustion(T + 1, h)
    assert found.step.low < 1 + 15 * np.log(10) < found.step.high
    assert found.step.value == pytest.approx(1 + 15 * np.log(10), rel=0.1)
    assert found.floor.value == pytest.approx(0.15, abs=0.01)
    assert found.start.value == pytest.approx(0.8, abs=0.02)
    assert found.falling == 1.0


def test_finer_cells_change_little(monkeypatch):
    rng = np.random.default_rng(3)
    h = (0.15 + 0.65 * np.exp(-T / 15)) * (1 + 0.02 * rng.standard_normal(100))
    coarse = exhaustion(T, h).step
    monkeypatch.setattr("isotherm.measure.laws.grid.EACH", 30)
    monkeypatch.setattr("isotherm.measure.laws.grid.TIMES", 40)
    fine = exhaustion(T, h).step
    assert (fine.low, fine.value, fine.high) == pytest.approx((coarse.low, coarse.value, coarse.high), rel=0.02)


@pytest.mark.parametrize("exponent", [0.65, 0.93])
def test_any_exponent_is_found_as_finely_as_the_noise_allows(exponent):
    h = 0.15 + 0.65 * np.exp(-((T / 12) ** exponent))
    truth = 12 * np.log(10) ** (1 / exponent)
    for noise in (1e-3, 1e-5):
        step = exhaustion(T, h + noise * np.random.default_rng(0).standard_normal(100)).step
        assert step.low < truth < step.high
        assert 0 < step.high - step.low < 40 * noise * truth


def test_less_of_a_run_gives_a_wider_interval():
    rng = np.random.default_rng(4)
    h = (0.15 + 0.65 * np.exp(-T / 30)) * (1 + 0.03 * rng.standard_normal(100))
    few, many = exhaustion(T[:25], h[:25]).step, exhaustion(T, h).step
    assert few.high - few.low > 2 * (many.high - many.low)


def test_a_seed_gives_the_same_draws_again():
    h = 0.15 + 0.65 * np.exp(-T / 30) + 0.01 * np.sin(T)
    assert exhaustion(T, h) == exhaustion(T, h)
    assert exhaustion(T, h) != exhaustion(T, h, seed=1)


def test_the_floor_is_never_below_zero():
    h = np.maximum(0.5 - 0.005 * T, 0)
    assert falls(T, h, 300.0, 0).floor.min() >= 0


def test_quantiles():
    found = quantiles(np.arange(101.0))
    assert (found.low, found.value, found.high, found.level) == pytest.approx((5, 50, 95, 0.9))


@pytest.mark.parametrize(
    ("t", "h", "said"),
    [
        (T, 0.2 + 0.3 * T / 100, "does not clearly fall"),
        (T, np.full(100, 0.2), "stays at 0.2 nats"),
        (T, np.random.default_rng(5).normal(0.3, 0.01, 100), "does not clearly fall"),
        (T[:5], T[:5], "at least 12 rows, but there are 5"),
        (T[::-1], T / 100, "steps must increase from row to row, but row 1 does not"),
        (np.zeros(20), T[:20], "steps must increase"),
        (T, T, "between 0 and 50"),
    ],
)
def test_what_does_not_fall_is_a_sentence(t, h, said):
    with pytest.raises(UserError, match=said):
        exhaustion(t, h)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-9, 1e6), st.floats(0, 50)), min_size=10, max_size=30))
def test_any_rows_give_finite_numbers_or_a_sentence(rows):
    t, h = np.cumsum([x for x, _ in rows]), [x for _, x in rows]
    try:
        found = exhaustion(t, h)
    except UserError:
        return
    assert np.isfinite([found.step.low, found.step.high, found.floor.value, found.start.value]).all()
    assert t[0] <= found.step.low <= found.step.high
    assert found.floor.low >= 0
