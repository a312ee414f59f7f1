"""Advantages that remember the rewards of earlier visits to a problem. [R] and [R, 3] are float64, group is int64."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isotherm.advantages.estimators import deviation, group_mean
from isotherm.records import Problem, Rollout

Past = dict[str, list[float]]  # problem -> visits so far, mean and variance of their rewards
NEVER = [0.0, 0.0, 0.0]


def smoothed(reward: Tensor, group: Tensor, *, past: Tensor) -> Tensor:
    """On the i-th visit to a problem, of A_new + (A_total - A_new) / i and A_total + (A_new - A_total) / i the smaller.

    That is by absolute value. A = (R - mean) / std, 0 where the std is: A_new over this group, A_total over all visits
    (smooth advantage standardisation of DCPO, arXiv 2509.02333, and its authors' code).
    """
    mean, std = group_mean(reward, group), deviation(reward, group)
    i, total_mean, total_variance = visited(past.unbind(1), mean, std * std)
    new, total = standardised(reward, mean, std), standardised(reward, total_mean, total_variance.sqrt())
    first, second = new + (total - new) / i, total + (new - total) / i
    return torch.where(first.abs() < second.abs(), first, second)


def standardised(reward: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return torch.where(std > 0, (reward - mean) / std, 0.0)


def visited(past: Any, mean: Any, variance: Any) -> tuple[Any, Any, Any]:
    """i, mean_i = mean + d / i and var_i = ((i - 1) var + s^2) / i + (i - 1) d^2 / i^2, with d = m - mean.

    m and s^2 (with n - 1) are those of the i-th visit. All visits weigh the same, as in the authors' code (2509.02333).
    """
    visits, old_mean, old_variance = past
    i, d = visits + 1, mean - old_mean
    return i, old_mean + d / i, (visits * old_variance + variance) / i + visits * d * d / (i * i)


def needs_past(estimator: Callable[..., Tensor]) -> bool:
    return "past" in inspect.signature(estimator).parameters


def recalled(past: Past, rollout: Rollout) -> Tensor:
    """[R, 3], the past of each response's problem."""
    rows = [past.get(name(problem), NEVER) for problem in rollout.problems]
    return torch.tensor(rows, dtype=torch.float64).view(-1, 3)[torch.from_numpy(rollout.group)]


def remembered(past: Past, rollout: Rollout) -> Past:
    """The past with this rollout in it: each group is one visit to its problem."""
    found = dict(past)
    for number, problem in enumerate(rollout.problems):
        reward = rollout.reward[rollout.group == number]
        if len(reward):
            moments = float(reward.mean()), float(reward.var(ddof=1)) if len(reward) > 1 else 0.0
            found[name(problem)] = list(visited(found.get(name(problem), NEVER), *moments))
    return found


def name(problem: Problem) -> str:
    return f"{problem.family} {problem.key}"
