"""Cells of exponent and time: what they hold, and how they shrink to where the weight lies."""

from __future__ import annotations

import numpy as np
import pytest

from isotherm.measure.laws.grid import EACH, EXPONENTS, TIMES, Grid, bracketed, fewest, middles, narrowed


def test_middles_and_narrowing_by_hand():
    ends = np.array([0.0, 4.0])
    assert middles(ends, 4) == pytest.approx([0.5, 1.5, 2.5, 3.5])
    log = np.array([-9.0, -1.0, 0.0, -9.0])
    assert narrowed(ends, log, -2.0) == pytest.approx([0.0, 4.0])  # the cells 1 to 3, one more on either side
    assert narrowed(ends, np.array([-9.0, -9.0, 0.0, -9.0]), -2.0) == pytest.approx([1.0, 4.0])
    assert narrowed(ends, np.array([0.0, -9.0, -9.0, -9.0]), -2.0) == pytest.approx([-1.0, 2.0])
    assert fewest(np.stack([log, log - log]), -2.0) == 2


def test_a_new_exponent_takes_in_the_times_of_those_beside_it():
    old, ends = np.array([1.0, 2.0, 3.0]), np.array([[0.0, 1.0], [2.0, 3.0], [1.0, 5.0]])
    assert bracketed(old, np.array([1.5, 2.5]), ends) == pytest.approx(np.array([[0, 3], [1, 5]]))


def test_the_whole_grid():
    grid = Grid.whole(1.0, 1000.0)
    size = EACH * TIMES
    assert len(grid.tau) == len(grid.exponent) == len(grid.power) == len(grid.log_size) == 2 * size
    assert grid.tau[0] == pytest.approx(1000 ** (0.5 / TIMES))
    assert grid.exponent[0] == pytest.approx(0.4 + 0.9 * 0.5 / EACH)
    assert grid.exponent[size] == pytest.approx(0.5 * 8 ** (0.5 / EACH))
    assert grid.power.tolist() == size * [False] + size * [True]


def test_sizes_add_up_to_the_same_after_refining():
    """Half the exponents of one family, a third of the log of tau: a sixth of what is beforehand."""
    whole = Grid.whole(1.0, 1000.0)
    part = Grid(whole.limits, EXPONENTS * 1.0, whole.times.copy())
    part.exponents[0] = [0.4, 0.85]
    part.times[0] = np.log([10.0, 100.0])
    before, after = (np.exp(g.log_size)[: EACH * TIMES].sum() for g in (whole, part))
    assert after / before == pytest.approx(1 / 6)


def test_a_peak_between_the_cells_is_found():
    """A ridge that is a thousandth as wide as the range: tau first, then exponents, as fine as it is."""
    grid = Grid.whole(1.0, 1000.0)
    for _ in range(12):
        x, y = grid.exponent, np.log(grid.tau)
        log = -(((y - 3 + (x - 0.777)) / 1e-3) ** 2) - ((x - 0.777) / 2e-3) ** 2 + np.where(grid.power, -50, 0)
        if grid.fine(log, -200.0, 3) and grid.fine(log, -9.0, 6):
            break
        grid = grid.refined(log, -200.0 if not grid.fine(log, -200.0, 3) else -9.0)
    weight = np.exp(log - log.max() + grid.log_size - grid.log_size.max())
    weight /= weight.sum()
    assert grid.fine(log, -9.0, 6)
    assert weight @ grid.exponent == pytest.approx(0.777, abs=2e-4)
    assert (weight @ (grid.exponent - 0.777) ** 2) ** 0.5 == pytest.approx(2e-3 / 2**0.5, rel=0.1)


def test_limits_hold():
    grid = Grid.whole(1.0, 1000.0)
    log = np.where(grid.tau == grid.tau.max(), 0.0, -1e3)
    found = grid.refined(log, -9.0)
    assert found.times[..., 1].max() == pytest.approx(np.log(1000))
    assert found.times[..., 0].min() > 0
