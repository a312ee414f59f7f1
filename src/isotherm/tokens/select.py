"""Choosing tokens, with ties settled by their keys."""

from __future__ import annotations

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
