"""Intervals, avg@k and the majority vote against the enumeration of every outcome."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from isotherm.measure.accuracy import Mean, avg_at_k, interval, majority, mean_of, mean_over, student
from isotherm.measure.passk import pass_at_k

POPULATION = {0.1: 0.7, 0.8: 0.3}  # a problem's chance of a correct response, and how many problems are such


def outcomes(n: int) -> np.ndarray:
    """Probability of c = 0..n correct responses to a problem drawn from the population."""
    return np.array(
        [sum(w * math.comb(n, c) * p**c * (1 - p) ** (n - c) for p, w in POPULATION.items()) for c in range(n + 1)]
    )


def samples(n: int, m: int):
    """Every multiset of outcomes of m problems with its probability."""
    chance = outcomes(n)
    for found in itertools.combinations_with_replacement(range(n + 1), m):
        ways = math.factorial(m)
        for count in Counter(found).values():
            ways //= math.factorial(count)
        yield found, ways * math.prod(chance[c] for c in found)


@pytest.mark.parametrize(("n", "k", "m"), [(4, 2, 3), (3, 3, 2), (5, 1, 4)])
def test_the_variance_of_pass_at_k_is_unbiased(n, k, m):
    """Over every outcome: mean and variance of the mean are what pass@k and its estimated variance are on average."""
    truth = sum(w * (1 - (1 - p) ** k) for p, w in POPULATION.items())
    found = [(mean_over(pass_at_k(n, c, k)), chance) for c, chance in samples(n, m)]
    assert sum(chance for _, chance in found) == pytest.approx(1)
    assert sum(chance * mean.value for mean, chance in found) == pytest.approx(truth)
    variance = sum(chance * (mean.value - truth) ** 2 for mean, chance in found)
    assert sum(chance * mean.variance for mean, chance in found) == pytest.approx(variance)


@pytest.mark.parametrize(("n", "k", "m", "low", "high"), [(3, 1, 20, 0.93, 0.97), (3, 2, 20, 0.93, 0.98)])
def test_the_interval_covers_as_often_as_it_says(n, k, m, low, high):
    """The chance of covering the true pass@k, exactly: over every outcome of 20 problems."""
    truth = sum(w * (1 - (1 - p) ** k) for p, w in POPULATION.items())
    covered = 0.0
    for c, chance in samples(n, m):
        bottom, top = interval(mean_over(pass_at_k(n, c, k)))
        covered += chance * (bottom <= truth <= top)
    assert low <= covered <= high


@pytest.mark.parametrize("k", [1, 4, 16])
@pytest.mark.parametrize("shape", [(0.3, 0.7), (2, 2), (0.5, 5), (0.05, 0.2)])
def test_the_interval_covers_in_simulations(k, shape):
    """2000 evaluations of 32 problems, whose chances follow a Beta distribution, with 16 responses each."""
    random = np.random.default_rng(0)
    truth = 1 - np.prod([(shape[1] + i) / (sum(shape) + i) for i in range(k)])  # E (1 - p)^k
    estimate = pass_at_k(16, np.arange(17), k)
    counts = random.binomial(16, random.beta(shape[0], shape[1], (2000, 32)))
    ends = np.array([interval(mean_over(estimate[c])) for c in counts])
    assert 0.92 <= ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean() <= 0.99


def test_the_interval_of_coin_tosses_is_wilsons():
    """With one response to each problem it is Wilson's of m - 1 tosses, with Student's quantile."""
    mean = mean_over(np.array([1.0] * 3 + [0.0] * 7))
    t, n, p = 2.262157, 9, 0.3
    centre = (p + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * math.sqrt(p * (1 - p) / n + t * t / (4 * n * n))
    assert interval(mean) == pytest.approx((centre - half, centre + half), abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_equal_estimates_do_not_make_an_interval_of_nothing(value):
    low, high = interval(mean_over(np.full(32, value)))
    assert 0 <= low <= value <= high <= 1
    assert 0.05 < high - low < 0.3
    assert (low == 0) == (value == 0)
    assert (high == 1) == (value == 1)


def test_a_single_problem_has_no_interval():
    alone = mean_over(np.array([0.5]))
    assert alone.value == 0.5
    assert np.isnan(interval(alone)).all()
    assert np.isnan(interval(mean_of([alone, mean_over(np.array([0.2, 0.4]))]))).all()


def test_means_over_families_weigh_each_family_alike():
    whole = mean_of([Mean(0.2, 0.004, 9, 10), Mean(0.6, 0.002, 4, 5)])
    assert whole.value == pytest.approx(0.4)
    assert whole.variance == pytest.approx(0.006 / 4)
    assert whole.freedom == pytest.approx(0.006**2 / (0.004**2 / 9 + 0.002**2 / 4))
    assert whole.count == 15


@pytest.mark.parametrize(
    ("freedom", "share", "quantile"),
    [(3, 0.975, 3.182446), (5, 0.975, 2.570582), (31, 0.975, 2.039513), (10, 0.95, 1.812461), (1e9, 0.975, 1.959964)],
)
def test_students_quantiles_are_those_of_the_tables(freedom, share, quantile):
    assert student(share, freedom) == pytest.approx(quantile, rel=0.002 if freedom == 3 else 2e-4)


def test_avg_at_k_is_the_share_of_the_first_k():
    correct = [np.array([True, False, False, True]), np.array([False, False, True, True])]
    assert [avg_at_k(correct, k) for k in (1, 2, 4)] == [0.5, 0.25, 0.5]
    assert avg_at_k(correct, 4) == pass_at_k(4, [2, 2], 1).mean()
    with pytest.raises(ValueError, match="the smallest n is 4"):
        avg_at_k(correct, 5)


def test_majority_by_hand():
    assert majority(["a", "b", "b"], [True, False, False]) == 0
    assert majority(["a", "b", "b", None, None, None], [False, True, True, False, False, False]) == 1
    assert majority(["a", "b", "c"], [True, False, True]) == pytest.approx(2 / 3)
    assert majority([None, None], [False, False]) == 0
    assert majority([], []) == 0


@pytest.mark.parametrize("forms", list(itertools.product("ab\0", repeat=4)))
def test_a_tie_is_worth_what_every_order_of_breaking_it_is_on_average(forms):
    """Draw every order of the answers in turn; the vote goes to the first of the most frequent ones."""
    right = [form == "a" for form in forms]
    answers = [None if form == "\0" else form for form in forms]
    votes = Counter(answer for answer in answers if answer)
    wins = [max(order, key=lambda x: votes[x]) == "a" if votes else False for order in itertools.permutations("ab")]
    assert majority(answers, right) == np.mean(wins)
