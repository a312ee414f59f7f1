"""Coefficients against the logarithm of size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import linregress

from isotherm.errors import UserError
from isotherm.measure.laws.size import by_size

SIZES = [0.14e6, 0.5e6, 1e6, 4e6]


def test_a_log_linear_coefficient_is_found():
    found = by_size(SIZES, 0.05 + 0.02 * np.log(SIZES))
    assert (found.intercept.value, found.slope.value) == pytest.approx((0.05, 0.02))
    assert found.r2 == pytest.approx(1)
    assert found.at(2e6) == pytest.approx(0.05 + 0.02 * np.log(2e6))


def test_errors_are_those_of_a_regression():
    y = [0.1, 0.3, 0.25, 0.6]
    told: Any = linregress(np.log(SIZES), y)
    found = by_size(SIZES, y)
    assert (found.intercept.value, found.slope.value) == pytest.approx((told.intercept, told.slope))
    assert np.diag(found.covariance) ** 0.5 == pytest.approx([told.intercept_stderr, told.stderr])
    assert found.r2 == pytest.approx(told.rvalue**2)
    assert found.slope.high - found.slope.value == pytest.approx(4.302652729911275 * told.stderr)  # t, 2 degrees


@pytest.mark.parametrize(
    ("sizes", "y", "said"),
    [
        ([1e6, 1e6, 2e6], [1, 2, 3], "at least 3 rows, but there are 2"),
        ([1, 2, 0], [1, 2, 3], "above 0, but one is 0"),
        ([1, 2, -3], [1, 2, 3], "above 0"),
        ([1, 2, np.nan], [1, 2, 3], "not finite"),
        ([], [], "there are 0"),
    ],
)
def test_what_is_no_line_is_a_sentence(sizes, y, said):
    with pytest.raises(UserError, match=said):
        by_size(sizes, y)
