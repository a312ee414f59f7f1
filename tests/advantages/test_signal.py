import numpy as np
import pytest

from isotherm.advantages.signal import has_signal, reward, soft_overlong
from isotherm.records import Problem, Rollout, Verdict


def rollout(rewards, groups, verdicts=None):
    rows = len(rewards)
    return Rollout(
        step=1,
        problems=[Problem("chain", 1, str(g), "", {}) for g in range(max(groups, default=-1) + 1)],
        prompts=[[1]] * (max(groups, default=-1) + 1),
        group=np.array(groups, dtype=np.int64),
        sample=np.zeros(rows, np.int64),
        ids=np.zeros((rows, 1), np.int64),
        length=np.ones(rows, np.int64),
        finished=np.ones(rows, bool),
        logprob=np.zeros((rows, 1), np.float32),
        entropy=np.zeros((rows, 1), np.float32),
        s2=np.zeros((rows, 1), np.float32),
        s2l=np.zeros((rows, 1), np.float32),
        texts=[""] * rows,
        verdicts=verdicts or [Verdict.WRONG] * rows,
        reward=np.array(rewards, dtype=np.float64),
    )


def test_only_a_correct_answer_is_rewarded():
    verdicts = [Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSED, Verdict.ERROR]
    assert reward(rollout([0.0] * 4, [0] * 4, verdicts)).tolist() == [1, 0, 0, 0]


def test_a_group_has_signal_where_its_rewards_differ():
    groups = [5, 5, 5, 2, 2, 9, 0, 0]
    rewards = [1, 1, 1, 0, 0.25, 1, 0, 0]
    assert has_signal(rollout(rewards, groups)).tolist() == [False, False, False, True, True, False, False, False]


def test_groups_need_not_be_contiguous():
    assert has_signal(rollout([1, 0, 1, 1, 0], [3, 1, 3, 1, 3])).tolist() == [True] * 5
    assert has_signal(rollout([1, 0, 1, 0, 1], [3, 1, 3, 1, 3])).tolist() == [False] * 5


def test_no_responses_no_signal():
    assert has_signal(rollout([], [])).shape == (0,)


@pytest.mark.parametrize(("length", "cost"), [(0, 0), (48, 0), (52, -0.25), (56, -0.5), (64, -1), (70, -1)])
def test_soft_overlong_falls_from_0_to_minus_1_in_the_buffer(length, cost):
    assert soft_overlong(np.array([length]), 64, 16).tolist() == [cost]
