"""Entropy along the response on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from isotherm.measure.positions import by_part, by_position, prompt_entropy

LENGTH = np.array([4, 1, 2])
VALUES = np.array([1.0, 2, 3, 4, 5, 6, 7])  # 1 2 3 4 | 5 | 6 7


def test_by_position():
    profile = by_position(VALUES, LENGTH)
    assert profile.mean.tolist() == [4, 4.5, 3, 4]
    assert profile.count.tolist() == [3, 2, 1, 1]


def test_by_part():
    profile = by_part(VALUES, LENGTH, 2)
    assert profile.mean == pytest.approx([(1 + 2 + 5 + 6) / 4, (3 + 4 + 7) / 3])
    assert profile.count.tolist() == [4, 3]
    quarters = by_part(VALUES[4:], LENGTH[1:], 4)
    assert quarters.count.tolist() == [2, 0, 1, 0]
    assert np.isnan(quarters.mean[[1, 3]]).all()


def test_every_token_is_counted_once():
    length = np.random.default_rng(0).integers(1, 50, 100)
    values = np.random.default_rng(1).random(length.sum())
    for profile in (by_position(values, length), by_part(values, length)):
        assert profile.count.sum() == len(values)
        assert np.nansum(profile.mean * profile.count) == pytest.approx(values.sum())


def test_the_prompt_entropy_counts_each_problem_once():
    entropy = np.array([[0.5, 9], [0.5, 9], [0.5, 9], [2.0, 9]])
    assert prompt_entropy(entropy, np.array([0, 0, 0, 1])) == 1.25
