"""Who gets what was decided: each token its own, or that of a token drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.records import Tokens
from isotherm.tokens.draws import uniform


@reads()
def in_place(tokens: Tokens) -> Tensor:
    """Every token its own."""
    return torch.arange(len(tokens), device=tokens.key.device)


@reads("advantage")
def within_sign(tokens: Tokens) -> Tensor:
    """That of a token drawn among those whose A has the same sign, each of them once (Rand-Pos-Clip, 2511.05993).

    So as many tokens of either sign are touched, and as much; the paper draws for one selection, this for any.
    """
    sign = 2 * tokens.advantage.sign().double()
    giver, taker = ((sign + uniform(tokens.key, salt=salt)).argsort() for salt in (6, 7))
    return torch.empty_like(giver).index_copy_(0, taker, giver)
