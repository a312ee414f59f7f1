"""Weights that belong to no single paper's intervention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.records import Tokens
from isotherm.tokens.select import drawn


@reads("probability")
def truncated_importance(tokens: Tokens, *, cap: float) -> Tensor:
    """min(pi_old / pi_sampler, cap): corrects a sampler whose numbers differ from the scorer's (Yao et al. 2025)."""
    return (tokens.old_logprob - tokens.sampler_logprob).exp().clamp(max=cap)


@reads()
def random_weight(tokens: Tokens, *, share: float, floor: float) -> Tensor:
    """Weight floor on floor(share T) tokens drawn uniformly: the control of a selection of that size (2511.05993)."""
    everywhere = torch.ones(len(tokens), dtype=torch.bool, device=tokens.key.device)
    chosen = drawn(tokens, everywhere, math.floor(share * len(tokens)), salt=5)
    return torch.ones_like(tokens.advantage).masked_fill(chosen, floor)
