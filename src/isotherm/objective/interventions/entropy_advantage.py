"""Reasoning with Exploration: An Entropy Perspective (arXiv 2506.14758): the advantage grows with the entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.records import Tokens


@reads("advantage", "entropy")
def entropy_advantage(tokens: Tokens, advantage: Tensor, *, alpha: float = 0.4, kappa: float = 2.0) -> Tensor:
    """A + min(alpha sg(H), |A| / kappa) (arXiv 2506.14758, sec. 3).

    With kappa > 1 no advantage changes its sign. The paper's alpha and kappa are .4 and 2 by one reading only.
    """
    return advantage + torch.minimum(alpha * tokens.entropy, advantage.abs() / kappa)
