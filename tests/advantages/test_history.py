"""DCPO's smoothing of advantages over the visits to a problem."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotherm.advantages.estimators import grpo
from isotherm.advantages.history import NEVER, needs_past, recalled, remembered, smoothed, visited
from isotherm.advantages.responses import advantages
from isotherm.objective.compose import method

GROUP = torch.tensor([0, 0, 0, 0])


def float64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rollout(*groups: tuple[str, list[float]]) -> Any:
    """Groups of rewards by their problems."""
    sizes = [len(rewards) for _, rewards in groups]
    count = sum(sizes)
    return cast(
        "Any",
        SimpleNamespace(
            problems=[SimpleNamespace(family="file", key=key) for key, _ in groups],
            group=np.repeat(np.arange(len(groups)), sizes),
            reward=np.array([r for _, rewards in groups for r in rewards]),
            length=np.ones(count, dtype=np.int64),
            logprob=np.zeros((count, 1), dtype=np.float32),
        ),
    )


def test_on_a_first_visit_it_is_grpo():
    reward, group = float64(1, 0, 0, 1, 1, 1, 0), torch.tensor([5, 5, 5, 5, 2, 2, 2])
    torch.testing.assert_close(smoothed(reward, group, past=float64(NEVER).expand(7, 3)), grpo(reward, group, floor=0))


def test_a_second_visit_by_hand():
    """One of 4 right before (1/4, s^2 1/4), three now (3/4, s^2 1/4): mean 1/2, var 1/4 + (1/2)^2 / 4 = 5/16.

    Right: new 1/2, total (1/2) / sqrt(5/16) = .894; wrong: -3/2 and -.894. At i = 2 both mixtures are the mean.
    """
    past = float64([1.0, 0.25, 0.25]).expand(4, 3)
    total = 0.5 / (5 / 16) ** 0.5
    found = smoothed(float64(1, 1, 1, 0), GROUP, past=past)
    torch.testing.assert_close(found, float64(*[(0.5 + total) / 2] * 3, -(1.5 + total) / 2))


def test_at_a_later_visit_the_smaller_mixture_is_taken():
    """i = 4, before 1/4 and 1/4 in each of three visits, now 3/4: mean 3/8, var 1/4 + 3/16 (1/2)^2 = 19/64."""
    past = float64([3.0, 0.25, 0.25]).expand(4, 3)
    std = (19 / 64) ** 0.5
    new, total = float64(0.5, 0.5, 0.5, -1.5), float64(*[(5 / 8) / std] * 3, -(3 / 8) / std)
    mixtures = torch.stack([0.75 * new + 0.25 * total, 0.25 * new + 0.75 * total])
    wanted = float64(*[mixtures[0, 0]] * 3, mixtures[1, 3])
    assert mixtures[0, 0] < mixtures[1, 0]
    assert -mixtures[1, 3] < -mixtures[0, 3]
    torch.testing.assert_close(smoothed(float64(1, 1, 1, 0), GROUP, past=past), wanted)


def test_equal_rewards_teach_by_the_past_alone():
    """A_new is 0, so A = A_total / i: mean 5/8, var 1/8 + 1/4 (3/4)^2, at i = 2."""
    found = smoothed(float64(1, 1, 1, 1), GROUP, past=float64([1.0, 0.25, 0.25]).expand(4, 3))
    torch.testing.assert_close(found, float64(*[(3 / 8) / (1 / 8 + 9 / 64) ** 0.5 / 2] * 4))
    assert not smoothed(float64(1, 1, 1, 1), GROUP, past=float64([2.0, 1.0, 0.0]).expand(4, 3)).any()
    assert not smoothed(float64(1), GROUP[:1], past=float64(NEVER)).any()


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, -0.5]), min_size=3, max_size=3), min_size=1, max_size=6))
def test_visits_add_up_to_moments_over_all(groups):
    """The mean over all rewards, and the mean of the variances plus the variance of the means."""
    past: Any = NEVER
    for rewards in groups:
        past = visited(past, np.mean(rewards), np.var(rewards, ddof=1))
    means = [np.mean(rewards) for rewards in groups]
    assert past[0] == len(groups)
    assert past[1] == pytest.approx(np.mean(groups), abs=1e-12)
    assert past[2] == pytest.approx(np.mean([np.var(g, ddof=1) for g in groups]) + np.var(means), abs=1e-12)


def test_the_past_is_by_problem_and_in_the_order_of_the_groups():
    twice = rollout(("a", [1, 0]), ("b", [1, 1]), ("a", [1, 1]))
    past = remembered({}, twice)
    assert past == {"file a": [2.0, 0.75, 0.5 / 2 + 0.25**2], "file b": [1.0, 1.0, 0.0]}
    assert recalled(past, rollout(("b", [0.0]), ("c", [0.0, 0.0]))).tolist() == [[1.0, 1.0, 0.0], NEVER, NEVER]
    assert remembered(past, rollout(("b", [1.0])))["file a"] == past["file a"]


def test_a_rollout_hands_its_past_to_the_estimator_that_asks():
    chosen, some = method("dcpo_smooth").advantage, rollout(("a", [1, 1]))
    assert needs_past(chosen)
    assert not needs_past(method("grpo").advantage)
    assert advantages(chosen, some).tolist() == [0, 0]
    assert (advantages(chosen, some, {"file a": [1.0, 0.5, 0.5]}) > 0).all()
