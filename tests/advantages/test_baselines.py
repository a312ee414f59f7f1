from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotherm.advantages.baselines import opo, ranks, unlikeliness, w_reinforce
from isotherm.advantages.estimators import grpo, mean_only
from isotherm.advantages.responses import advantages
from isotherm.objective.compose import method

GROUP = torch.tensor([7, 2, 7, 7, 2])
REWARD = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
LENGTH = torch.tensor([10, 30, 20, 10, 10])
LIKELIHOOD = torch.tensor([-1.0, -3.0, -2.0, -0.5, -1.0], dtype=torch.float64)


def test_w_reinforce_and_its_two_sides():
    assert w_reinforce(REWARD, GROUP).tolist() == [0.1, 0.1, -1, 0.1, -1]
    assert method("psr").advantage(REWARD, GROUP).tolist() == [1, 1, 0, 1, 0]
    assert method("nsr").advantage(REWARD, GROUP).tolist() == [0, 0, -1, 0, -1]


def test_opo_weighs_rewards_by_length():
    """Group 7: (10 + 0 + 10) / 40 = 1/2; group 2: 30 / 40 = 3/4."""
    assert opo(REWARD, GROUP, length=LENGTH).tolist() == [0.5, 0.25, -0.5, 0.5, -0.75]


def test_opo_with_equal_lengths_is_the_plain_mean():
    torch.testing.assert_close(opo(REWARD, GROUP, length=torch.full((5,), 9)), mean_only(REWARD, GROUP))


def test_opo_is_the_baseline_of_least_variance_where_squared_scores_grow_with_length():
    """sum l (R - b)^2 is least at b, its derivative being zero: sum l A = 0 in each group."""
    weighted = LENGTH * opo(REWARD, GROUP, length=LENGTH)
    for g in (2, 7):
        assert float(weighted[g == GROUP].sum()) == pytest.approx(0)


def test_ranks_within_groups():
    assert ranks(LIKELIHOOD, GROUP).tolist() == [1, 0, 0, 2, 1]
    assert ranks(torch.tensor([5.0, 5.0, 1.0, 5.0]), torch.zeros(4)).tolist() == [2, 2, 0, 2]


@given(st.lists(st.tuples(st.sampled_from([-1.0, -2.0, -0.5]), st.sampled_from([0, 3, 9])), max_size=20))
def test_ranks_against_a_loop(rows):
    for i, (value, rank) in enumerate(zip(rows, ranks_of(rows), strict=True)):
        mine = [v for v, g in rows if g == rows[i][1]]
        assert rank == sum(v < value[0] for v in mine) + (mine.count(value[0]) - 1) / 2


def ranks_of(rows):
    values, groups = ([row[i] for row in rows] for i in (0, 1))
    return ranks(torch.tensor(values, dtype=torch.float64), torch.tensor(groups, dtype=torch.int64)).tolist()


def test_unlikeliness_by_hand():
    """Group 7, G = 3: ranks 1, 0, 2 of rewards 1, 0, 1 with beta = .3."""
    released = torch.tensor([0.9, 1.0, 0.0, 0.8, 0.0], dtype=torch.float64)
    printed = torch.tensor([0.8, 0.7, 0.0, 0.9, 0.0], dtype=torch.float64)
    for form, reward in (("released", released), ("printed", printed)):
        found = unlikeliness(REWARD, GROUP, likelihood=LIKELIHOOD, beta=0.3, form=form)
        torch.testing.assert_close(found, grpo(reward, GROUP))


def test_the_two_forms_of_unlikeliness_go_in_opposite_directions():
    """Of two right answers, the first less likely than the second."""
    for form, sign in (("released", 1), ("printed", -1)):
        found = unlikeliness(REWARD, GROUP, likelihood=LIKELIHOOD, form=form)
        assert float(found[0] - found[3]) * sign > 0
    torch.testing.assert_close(unlikeliness(REWARD, GROUP, likelihood=LIKELIHOOD, beta=0.0), grpo(REWARD, GROUP))


def test_an_estimator_is_given_what_it_names():
    logprob = np.array([[-1.0, -2.0, 9.0], [-0.5, 9.0, 9.0]], dtype=np.float32)
    rollout = SimpleNamespace(
        reward=np.array([1.0, 0.0]), group=np.array([0, 0]), length=np.array([2, 1]), logprob=logprob
    )

    def all_four(reward, group, *, likelihood, length):
        return 1000 * reward + 100 * group + 10 * likelihood + length

    def given(estimator) -> Any:
        return advantages(estimator, cast("Any", rollout)).tolist()

    assert given(all_four) == [1000 - 15 + 2, -5 + 1]
    assert given(lambda reward, group: reward) == [1, 0]
    assert given(method("opo").advantage) == pytest.approx([1 / 3, -2 / 3])
    assert given(method("unlikeliness(beta=0.0)").advantage) == given(grpo)
