"""f(r, A): what is maximised per token, with r = pi / pi_old."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.records import Tokens

LARGEST = 20.0  # |log r| beyond this is clamped and counted


def log_ratio(tokens: Tokens) -> Tensor:
    """log r = log pi - log pi_old, within +-20."""
    return (tokens.logprob - tokens.old_logprob).clamp(-LARGEST, LARGEST)


@reads("clip", "advantage")
def ppo_clip(tokens: Tokens, advantage: Tensor, *, low: float, high: float, dual: float = 0.0) -> Tensor:
    """min(r A, clip(r, 1 - low, 1 + high) A); for A < 0 not below dual * A (PPO, 1707.06347, eq. 7; 1912.09729, eq. 5).

    low and high differ in Clip-Higher (DAPO, 2503.14476, eq. 10) and, with low .28 and .12, in the study of 2511.05993.
    dual = 0 switches the dual clip off.
    """
    r = log_ratio(tokens).exp()
    f = torch.minimum(r * advantage, r.clamp(1 - low, 1 + high) * advantage)
    return torch.where(advantage < 0, torch.maximum(f, dual * advantage), f) if dual else f


@reads("advantage")
def ratio(tokens: Tokens, advantage: Tensor) -> Tensor:
    """r A: importance sampling without a clip (the free setting of 2511.05993)."""
    return log_ratio(tokens).exp() * advantage


@reads("advantage")
def reinforce(tokens: Tokens, advantage: Tensor) -> Tensor:
    """A log pi (Williams 1992): its gradient ignores how far the policy has moved since it sampled."""
    return tokens.logprob * advantage


def clipped(tokens: Tokens, *, low: float, high: float) -> Tensor:
    """True where the clip stops the gradient: r > 1 + high with A > 0, or r < 1 - low with A < 0."""
    r = log_ratio(tokens).exp()
    return ((r > 1 + high) & (tokens.advantage > 0)) | ((r < 1 - low) & (tokens.advantage < 0))
