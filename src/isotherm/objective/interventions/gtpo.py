"""GTPO and GRPO-S (2508.04349): rewards shaped by entropy per token and per response, then normalised in their group.

From a single reading of the paper. Not confirmed: the two weights, and whether right and wrong responses are normalised
apart; here they are normalised together, by GRPO's mean and standard deviation. Right is A > 0 and wrong is A < 0 for
the group advantage of the row that it is combined with; responses with A = 0 stay at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.advantages.estimators import group_mean, grpo
from isotherm.objective.factors import reads
from isotherm.records import Tokens

FLOOR = 1e-6  # a lower entropy counts as this one, because wrong tokens go with 1 / H


def shaped(sign: Tensor, entropy: Tensor, peers: Tensor, base: float, bonus: float) -> Tensor:
    """sign (base + bonus x / mean of x over peers), x = H where right and 1 / H where wrong."""
    h = entropy.clamp_min(FLOOR)
    x = torch.where(sign < 0, 1 / h, h)
    return sign * (base + bonus * x / group_mean(x, peers))


def instead(tokens: Tokens, advantage: Tensor, new: Tensor) -> Tensor:
    """The new advantage in place of the response's; what another shape has added stays."""
    new = torch.where(tokens.advantage == 0, 0.0, new).to(advantage.dtype)
    return (advantage - tokens.advantage) + new


@reads("advantage", "entropy")
def gtpo(tokens: Tokens, advantage: Tensor, *, base: float, bonus: float) -> Tensor:
    """base + bonus H_t d_t / sum_k H_k(t) over the group's d_t right responses that reach t (GTPO, 2508.04349).

    Wrong ones: minus the same with 1 / H. Then (value - mean) / (std + 1e-6) over the group's tokens.
    """
    if not len(tokens):
        return advantage
    _, slot = tokens.group.unique(return_inverse=True)
    sign = tokens.advantage.sign().double()
    peers = (slot * (tokens.position.max() + 1) + tokens.position) * 3 + sign.long()
    value = shaped(sign, tokens.entropy.double(), peers, base, bonus)
    return instead(tokens, advantage, grpo(value, tokens.group))


@reads("advantage", "entropy")
def grpo_s(tokens: Tokens, advantage: Tensor, *, base: float, bonus: float) -> Tensor:
    """GTPO of whole responses, by their mean entropy (GRPO-S, 2508.04349): base + bonus H_i n / sum_k H_k.

    The sum is over the group's n responses of the same sign, and the values are normalised over its responses.
    """
    if not len(tokens):
        return advantage
    _, row = tokens.sequence.unique(return_inverse=True)
    first = row.new_empty(int(row.max()) + 1)
    starts = (tokens.position == 0).nonzero().squeeze(1)
    first[row[starts]] = starts
    mean = group_mean(tokens.entropy.double(), tokens.sequence)[first]
    sign, group = tokens.advantage.sign().double()[first], tokens.group[first]
    _, slot = group.unique(return_inverse=True)
    value = shaped(sign, mean, slot * 3 + sign.long(), base, bonus)
    return instead(tokens, advantage, grpo(value, group)[row])
