"""Rewards of a batch of groups -> one advantage per response. reward [R] float64, group [R] int64 -> [R] float64."""

from __future__ import annotations

import torch
from torch import Tensor


def group_mean(values: Tensor, group: Tensor) -> Tensor:
    """Each response's mean over its group."""
    _, slot = group.unique(return_inverse=True)
    total = values.new_zeros(int(slot.max()) + 1 if len(slot) else 0).index_add_(0, slot, values)
    return (total / slot.bincount())[slot] if len(slot) else values


def grpo(reward: Tensor, group: Tensor, *, floor: float = 1e-6) -> Tensor:
    """A = (R - mean) / (std + floor) over the group, std with n - 1 (DeepSeekMath, arXiv 2402.03300, sec. 4.1.2).

    >>> grpo(torch.tensor([1., 0.]), torch.tensor([0, 0])).sign()
    tensor([ 1., -1.])
    """
    return mean_only(reward, group) / (deviation(reward, group) + floor)


def deviation(reward: Tensor, group: Tensor) -> Tensor:
    """Each response's standard deviation over its group, with n - 1."""
    centred = reward - group_mean(reward, group)
    count = group_mean(torch.ones_like(reward), group) * sizes(group)
    variance = group_mean(centred * centred, group) * count / (count - 1).clamp_min(1)
    return variance.sqrt()


def sizes(group: Tensor) -> Tensor:
    """Each response's number of responses in its group."""
    _, slot, count = group.unique(return_inverse=True, return_counts=True)
    return count[slot]


def mean_only(reward: Tensor, group: Tensor) -> Tensor:
    """A = R - mean over the group, no division (Dr. GRPO, arXiv 2503.20783, eq. 3)."""
    return reward - group_mean(reward, group)


def leave_one_out(reward: Tensor, group: Tensor) -> Tensor:
    """A = R - mean of the others = n / (n - 1) (R - mean) (RLOO, arXiv 2402.14740, eq. 8)."""
    n = sizes(group)
    return mean_only(reward, group) * n / (n - 1).clamp_min(1)


def globally_whitened(reward: Tensor, group: Tensor) -> Tensor:
    """A = (R - mean) / (std + 1e-6) over the whole batch (REINFORCE++, arXiv 2501.03262, eq. 8, without the KL)."""
    std = reward.std(correction=0) if len(reward) > 1 else reward.new_zeros(())
    return (reward - reward.mean()) / (std + 1e-6)


def no_baseline(reward: Tensor, group: Tensor) -> Tensor:
    """A = R (REINFORCE, Williams 1992)."""
    return reward.clone()


def quantile_baseline(reward: Tensor, group: Tensor, *, k: float) -> Tensor:
    """A = (R - Q_k) / (std + 1e-6), Q_k = inf {x: F(x) >= k} over the group (QAE, arXiv 2509.22611).

    At a success rate p, Q_k = 0 where p <= 1 - k, else 1. The division by the std is GRPO's (not confirmed).
    """
    _, slot, count = group.unique(return_inverse=True, return_counts=True)
    order = reward.argsort(stable=True)
    ranked = reward[order[slot[order].argsort(stable=True)]]
    at = count.cumsum(0) - count + (k * count.double() - 1e-9).ceil().long().clamp_min(1) - 1
    return (reward - ranked[at][slot]) / (deviation(reward, group) + 1e-6)


def gpg(reward: Tensor, group: Tensor, *, alpha: str = "signal", norm: str = "none") -> Tensor:
    """A = alpha (R - mean) / F, alpha = responses / responses of groups with signal (GPG, arXiv 2504.02546).

    F is 1 (norm = none) or the group's standard deviation (std). alpha = none is 1, for a mean that leaves out the
    groups without signal: that has the same factor where those groups' responses are as long as the others.
    """
    centred = mean_only(reward, group)
    live = group_mean((centred.abs() > 1e-9).to(reward.dtype), group) > 0
    factor = len(reward) / max(1, int(live.sum())) if alpha == "signal" else 1.0
    return factor * (centred if norm == "none" else grpo(reward, group)) * live
