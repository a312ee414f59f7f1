"""The tokens that moved the most."""

from __future__ import annotations

import numpy as np

from isotherm.report.movers import Word, by_word, largest


def test_the_largest_of_either_sign_and_no_zeros():
    values = np.array([0.1, -3.0, np.nan, 0.0, 2.0, -2.0, np.inf])
    assert largest(values).tolist() == [1, 4, 5, 0]
    assert largest(values, 2).tolist() == [1, 4]
    assert largest(np.full(3, np.nan)).tolist() == []


def test_all_of_a_kind():
    ids = np.array([7, 5, 7, 5, 9, 7])
    values = np.array([1.0, -4.0, 2.0, -2.0, 0.0, np.nan])
    assert by_word(ids, values) == [Word(5, 2, -3.0, -6.0), Word(7, 2, 1.5, 3.0)]
    assert by_word(ids, np.full(6, np.nan)) == []
