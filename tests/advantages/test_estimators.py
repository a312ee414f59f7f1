from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotherm.advantages import estimators

GROUP = [7, 2, 7, 7, 40, 2, 7, 40, 40, 2, 99, 7]  # of 5, 3, 3 and 1, in any order
REWARD = [1.0, 0.0, 0.0, 1.0, 0.5, 1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.25]


def members(rewards, groups, i):
    return [r for r, g in zip(rewards, groups, strict=True) if g == groups[i]]


def grpo(rewards, groups, i):
    mine = members(rewards, groups, i)
    spread = statistics.stdev(mine) if len(mine) > 1 else 0.0
    return (rewards[i] - statistics.fmean(mine)) / (spread + 1e-6)


def mean_only(rewards, groups, i):
    return rewards[i] - statistics.fmean(members(rewards, groups, i))


def leave_one_out(rewards, groups, i):
    others = [r for j, r in enumerate(rewards) if groups[j] == groups[i] and j != i]
    return rewards[i] - statistics.fmean(others) if others else 0.0


def globally_whitened(rewards, groups, i):
    return (rewards[i] - statistics.fmean(rewards)) / (statistics.pstdev(rewards) + 1e-6)


def no_baseline(rewards, groups, i):
    return rewards[i]


LOOPS = [grpo, mean_only, leave_one_out, globally_whitened, no_baseline]
every_estimator = pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)


def both(loop, rewards, groups):
    found = getattr(estimators, loop.__name__)(torch.tensor(rewards, dtype=torch.float64), torch.tensor(groups))
    expected = [loop(rewards, groups, i) for i in range(len(rewards))]
    return found, torch.tensor(expected, dtype=torch.float64)


@every_estimator
def test_against_a_loop(loop):
    found, expected = both(loop, REWARD, GROUP)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found.dtype == torch.float64
    assert len(found.unique()) > 2


rows = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 0.5, -1.0]), st.sampled_from([0, 1, 5, 1000])), min_size=1, max_size=20
)


@every_estimator
@given(rows=rows)
def test_against_a_loop_on_any_batch(loop, rows):
    rewards, groups = (list(column) for column in zip(*rows, strict=True))
    found, expected = both(loop, rewards, groups)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loop", LOOPS[:3], ids=lambda f: f.__name__)
def test_a_group_of_equal_rewards_has_no_advantage(loop):
    found, _ = both(loop, REWARD, GROUP)
    equal = [i for i, g in enumerate(GROUP) if g in (40, 99)]
    assert (found[equal] == 0).all()


@every_estimator
def test_no_responses(loop):
    found = getattr(estimators, loop.__name__)(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    assert found.shape == (0,)


def test_the_floor_of_the_deviation_is_a_choice():
    """(1, 0): mean .5, deviation sqrt(.5)."""
    found = estimators.grpo(torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0, 0]), floor=0.1)
    assert found.tolist() == pytest.approx([0.5 / (0.5**0.5 + 0.1), -0.5 / (0.5**0.5 + 0.1)])


def test_sizes_and_means_of_groups():
    group = torch.tensor(GROUP)
    assert estimators.sizes(group).tolist() == [GROUP.count(g) for g in GROUP]
    mean = estimators.group_mean(torch.tensor(REWARD, dtype=torch.float64), group)
    expected = [statistics.fmean(members(REWARD, GROUP, i)) for i in range(len(GROUP))]
    torch.testing.assert_close(mean, torch.tensor(expected, dtype=torch.float64))
