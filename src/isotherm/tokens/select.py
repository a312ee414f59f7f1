"""Choosing tokens, with ties settled by their keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isotherm.records import Tokens
from isotherm.tokens.draws import uniform


def smallest(values: Tensor, key: Tensor, count: int) -> Tensor:
    """True for exactly `count` tokens of smallest value; among equals the smaller key goes first.

    >>> smallest(torch.tensor([2., 1., 1.]), torch.tensor([5, 9, 7]), 1)
    tensor([False, False,  True])
    """
    chosen = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    if count == 0:
        return chosen
    edge = values.kthvalue(count).values
    chosen |= values < edge
    tied = (values == edge).nonzero().squeeze(1)
    rest = count - int(chosen.sum())
    chosen[tied[key[tied].argsort()[:rest]]] = True
    return chosen


def drawn(tokens: Tokens, among: Tensor, count: int, salt: int = 1) -> Tensor:
    """True for `count` tokens, or all there are, drawn uniformly where `among` is true."""
    order = torch.where(among, uniform(tokens.key, salt=salt), 2.0)
    return smallest(order, tokens.key, min(count, int(among.sum())))


def smallest_share(values: Tensor, among: Tensor, key: Tensor, share: float) -> Tensor:
    """True for the floor(share n) smallest, at least 1, of the n tokens where `among` is true; none if share is 0.

    >>> smallest_share(torch.tensor([2., 1., 0.]), torch.tensor([True, True, False]), torch.arange(3), 0.5)
    tensor([False,  True, False])
    """
    n = int(among.sum())
    count = max(1, math.floor(share * n)) if share > 0 and n else 0
    return smallest(torch.where(among, values, torch.inf), key, count)
