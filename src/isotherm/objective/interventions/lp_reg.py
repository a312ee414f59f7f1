"""Low-probability Regularization (arXiv 2510.03222): punished words that are rare, but no noise, are kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.functionals import value
from isotherm.records import Tokens
from isotherm.tokens.score import Functional
from isotherm.tokens.select import smallest_share


def likeliest(logp: Tensor) -> Tensor:
    """max_v log pi_v."""
    return logp.amax(-1)


def proxy_divergence(logp: Tensor, *, kappa: float) -> Tensor:
    """KL(q | pi), q = pi renormalised over {v: pi_v >= kappa max pi} and held fixed (Lp-Reg, 2510.03222).

    It is -log sum_{v kept} pi_v, whose gradient -sum_v q_v dlog pi_v is that of the divergence.
    """
    kept = logp >= logp.amax(-1, keepdim=True) + math.log(kappa)
    return -torch.logsumexp(torch.where(kept, logp, -torch.inf), -1)


@reads("probability", "advantage", "entropy")
def lp_reg(tokens: Tokens, *, beta: float, share: float, kappa: float, peak: Functional = likeliest) -> Tensor:
    """beta on the `share` least likely tokens with A < 0 that the proxy keeps, pi >= kappa max pi (2510.03222).

    The share is of the batch's tokens with A < 0, at least one. The authors' code takes the proxy from the policy that
    scored the batch and the divergence from the sampled token alone; here it is of the current policy and whole.
    """
    rare = smallest_share(tokens.logprob, tokens.advantage < 0, tokens.key, share)
    kept = tokens.logprob >= value(tokens, peak) + math.log(kappa)
    return beta * (rare & kept).to(tokens.advantage.dtype)
