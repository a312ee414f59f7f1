"""Weights that belong to no single paper's intervention."""

from __future__ import annotations

from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.records import Tokens


@reads("probability")
def truncated_importance(tokens: Tokens, *, cap: float) -> Tensor:
    """min(pi_old / pi_sampler, cap): corrects a sampler whose numbers differ from the scorer's (Yao et al. 2025)."""
    return (tokens.old_logprob - tokens.sampler_logprob).exp().clamp(max=cap)
