"""Advantages of single papers: W-REINFORCE, OPO, Unlikeliness. Reward [R] float64, group [R] int64 -> [R] float64."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.advantages.estimators import group_mean, grpo, sizes


def w_reinforce(reward: Tensor, group: Tensor, *, pos: float = 0.1, neg: float = 1.0) -> Tensor:
    """A = pos (the paper's lambda) for R > 0, else -neg, without a baseline (W-REINFORCE, arXiv 2506.01347, sec. 5).

    PSR keeps the right answers only (pos 1, neg 0), NSR the wrong ones only (pos 0, neg 1).
    """
    return torch.where(reward > 0, reward.new_tensor(pos), reward.new_tensor(-neg))


def opo(reward: Tensor, group: Tensor, *, length: Tensor) -> Tensor:
    """A = R - sum(l R) / sum(l) over the group, l the responses' lengths, no division (OPO, arXiv 2505.23585, sec. 3).

    The paper trains strictly on-policy: one update per rollout.
    """
    weight = length.to(reward.dtype).clamp_min(1)
    return reward - group_mean(weight * reward, group) / group_mean(weight, group)


def unlikeliness(
    reward: Tensor, group: Tensor, *, likelihood: Tensor, beta: float = 0.25, form: str = "released"
) -> Tensor:
    """GRPO on rewards shrunk by the rank 0 .. G-1 of a response's mean log-prob in its group (arXiv 2506.02355).

    released: R (1 - beta rank / G), rank G-1 for the most likely, so that likely right answers lose most.
    printed: R (1 - beta (G - rank) / G) by the same rank, so that unlikely ones lose most: the other direction. With
    rank 0 for the most likely the printed formula would be of the first direction, off by beta / G.
    """
    rank, g = ranks(likelihood, group), sizes(group)
    share = {"released": rank / g, "printed": (g - rank) / g}[form]
    return grpo(reward * (1 - beta * share), group)


def ranks(values: Tensor, group: Tensor) -> Tensor:
    """Ascending ranks 0 .. G-1 within each group; equal values share their mean rank."""
    _, slot, size = group.unique(return_inverse=True, return_counts=True)
    pairs = torch.stack([slot.to(values.dtype), values])
    _, place, count = pairs.unique(dim=1, return_inverse=True, return_counts=True)
    middle = count.cumsum(0) - count + (count - 1) / 2
    return middle[place] - (size.cumsum(0) - size)[slot]
