"""The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models (2505.22617): Clip-Cov, KL-Cov."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.surrogates import clipped
from isotherm.records import Tokens
from isotherm.tokens.select import drawn, smallest

NOTHING = 1e-6  # |log pi - log pi_old| below this is rounding, and |x| has slope +-1 there


def covariance(tokens: Tokens) -> Tensor:
    """Cov_t = (log pi_t - mean(log pi)) (A_t - mean(A)), means over the batch (eq. 9)."""
    centred = tokens.logprob - tokens.logprob.double().mean().to(tokens.logprob.dtype)
    return centred * (tokens.advantage - tokens.advantage.double().mean().to(tokens.advantage.dtype))


@reads("clip", "probability", "advantage")
def clip_cov(
    tokens: Tokens,
    *,
    ratio: float = 2e-4,
    low: float = 1.0,
    high: float = 5.0,
    clip_low: float = 1.0,
    clip_high: float = 1.0,
) -> Tensor:
    """Weight 0 on floor(ratio T) tokens, drawn uniformly among those with low < Cov < high (eq. 10, 11).

    At least 1, unless ratio is 0. Tokens whose ratio is clipped already (by clip_low and clip_high) are left out.
    """
    cov = covariance(tokens)
    window = (cov > low) & (cov < high) & ~clipped(tokens, low=clip_low, high=clip_high)
    return (~drawn(tokens, window, at_least_one(ratio, tokens))).to(tokens.advantage.dtype)


def at_least_one(share: float, tokens: Tokens) -> int:
    """max(1, floor(share T)); none for a share of 0."""
    return max(1, math.floor(share * len(tokens))) if share else 0


@reads("probability", "advantage")
def kl_cov(tokens: Tokens, *, k: float = 2e-3, beta: float = 1.0) -> Tensor:
    """The coefficient beta on the max(1, floor(k T)) tokens of largest Cov, 0 elsewhere (eq. 12, 13); k = 0 is off."""
    count = min(at_least_one(k, tokens), len(tokens))
    return beta * smallest(-covariance(tokens), tokens.key, count).to(tokens.advantage.dtype)


@reads("clip", "advantage")
def rand_clip_cov(tokens: Tokens, *, ratio: float = 2e-4, clip_low: float = 1.0, clip_high: float = 1.0) -> Tensor:
    """Clip-Cov without its window: as many tokens, drawn among all that have a gradient to lose (2505.22617).

    Those are A != 0 with a ratio that is not clipped. Of equal size unless the window holds fewer than Clip-Cov wants.
    """
    free = (tokens.advantage != 0) & ~clipped(tokens, low=clip_low, high=clip_high)
    return (~drawn(tokens, free, at_least_one(ratio, tokens), salt=3)).to(tokens.advantage.dtype)


@reads()
def rand_kl_cov(tokens: Tokens, *, k: float = 2e-3, beta: float = 1.0) -> Tensor:
    """The coefficient beta on as many tokens as KL-Cov's, drawn among all: its control of equal size (2505.22617)."""
    everywhere = torch.ones(len(tokens), dtype=torch.bool, device=tokens.key.device)
    return beta * drawn(tokens, everywhere, at_least_one(k, tokens), salt=4).to(tokens.advantage.dtype)


@reads("probability")
def distance(tokens: Tokens, *, rounding: float = NOTHING) -> Tensor:
    """|log pi - log pi_old|, with no slope where the two differ by rounding only (eq. 13). It has no upper end."""
    x = tokens.logprob - tokens.old_logprob
    return torch.where(x.detach().abs() < rounding, torch.zeros_like(x), x.abs())
