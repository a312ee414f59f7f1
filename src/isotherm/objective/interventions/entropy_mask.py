"""A mask by the predicted change of entropy, with the estimators that STEER (arXiv 2510.10150) weighs tokens by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.interventions.steer import omega
from isotherm.records import Tokens
from isotherm.tokens.select import smallest


def masked(tokens: Tokens, change: Tensor, share: float, floor: float) -> Tensor:
    """Weight floor on the floor(share T) tokens of most negative change, or on all whose change is negative."""
    count = min(math.floor(share * len(tokens)), int((change < 0).sum()))
    return torch.ones_like(change).masked_fill(smallest(change, tokens.key, count), floor)


@reads("clip", "probability", "advantage", "entropy")
def mask_falling(
    tokens: Tokens, *, estimator: str, share: float, floor: float, low: float, high: float, dual: float
) -> Tensor:
    """Weight floor on the `share` of tokens that lower the entropy most, by dH of one of the estimators of STEER.

    No paper has this rule; dH is that of arXiv 2510.10150 or, by default, the exact first order.
    """
    return masked(tokens, omega(tokens, estimator=estimator, low=low, high=high, dual=dual), share, floor)


@reads("clip", "probability", "advantage", "entropy")
def mask_rising(
    tokens: Tokens, *, estimator: str, share: float, floor: float, low: float, high: float, dual: float
) -> Tensor:
    """`mask_falling` on the tokens that raise the entropy most, by the same dH (estimators of arXiv 2510.10150)."""
    return masked(tokens, -omega(tokens, estimator=estimator, low=low, high=high, dual=dual), share, floor)
