"""Steps to a threshold and the area under a curve."""

from __future__ import annotations

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure.curves import area, steps_to

STEPS = np.array([0, 1, 2, 4, 5])
VALUES = np.array([np.nan, 0.1, 0.5, 0.3, 0.7])


def test_the_first_step_at_or_beyond_the_threshold():
    assert steps_to(STEPS, VALUES, 0.5) == 2
    assert steps_to(STEPS, VALUES, 0.6) == 5
    assert np.isnan(steps_to(STEPS, VALUES, 0.8))
    assert steps_to(STEPS, -VALUES, -0.5, falling=True) == 2


def test_a_window_waits_until_the_mean_is_there():
    assert steps_to(STEPS, VALUES, 0.4, window=2) == 4  # (0.5 + 0.3) / 2
    assert np.isnan(steps_to(STEPS, VALUES, 0.1, window=5))
    with pytest.raises(UserError, match="window must be at least 1"):
        steps_to(STEPS, VALUES, 0.1, window=0)


def test_area_by_trapezoids():
    assert area(STEPS, VALUES) == pytest.approx(0.3 + 0.8 + 0.5)
    assert np.isnan(area(STEPS, np.full(5, np.nan)))
