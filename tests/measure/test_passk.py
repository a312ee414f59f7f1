"""pass@k against the enumeration of every subset."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from isotherm.measure.passk import mean_pass_at_k, pass_at_k

CASES = [(n, c, k) for n in range(1, 8) for c in range(n + 1) for k in range(1, n + 1)]


def enumerated(n: int, c: int, k: int) -> float:
    subsets = list(itertools.combinations(range(n), k))
    return sum(min(subset) < c for subset in subsets) / len(subsets)


@pytest.mark.parametrize(("n", "c", "k"), CASES)
def test_equals_enumeration(n, c, k):
    assert float(pass_at_k(n, c, k)) == enumerated(n, c, k)


def test_is_vectorised_and_broadcasts():
    c = np.arange(5)
    assert pass_at_k(4, c, 2).tolist() == [enumerated(4, i, 2) for i in range(5)]
    assert pass_at_k(np.array([[4], [6]]), c, 2).shape == (2, 5)


def test_is_exact_where_floats_would_overflow():
    assert float(pass_at_k(10_000, 5000, 5000)) == 1.0
    assert float(pass_at_k(10_000, 1, 5000)) == 0.5


def test_mean_over_problems():
    correct = np.array([[True, False, False, False], [False] * 4, [True] * 4])
    assert mean_pass_at_k(correct, 1) == pytest.approx((0.25 + 0 + 1) / 3)
    assert mean_pass_at_k(correct, 2) == pytest.approx((0.5 + 0 + 1) / 3)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 2, 5), (4, 2, 0), (4, 5, 1), (4, -1, 1)])
def test_refuses_what_has_no_meaning(n, c, k):
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(n, c, k)
