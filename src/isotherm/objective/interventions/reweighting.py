"""Weights by entropy, surprisal and covariance: ERC (2512.05591), CW-GRPO (2605.11538), STARE (2606.19236), Clip_B and
Clip_V (2602.03392)."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.records import Tokens
from isotherm.tokens.select import smallest_share


@reads("entropy")
def erc(tokens: Tokens, *, low: float, high: float) -> Tensor:
    """Weight 0 where H / H_old leaves [1 - low, 1 + high] (Entropy Ratio Clipping, 2512.05591)."""
    if tokens.old_entropy is None:
        raise ValueError("an entropy ratio needs the entropies of the policy that scored the batch")
    h, old = tokens.entropy, tokens.old_entropy
    return ((h >= (1 - low) * old) & (h <= (1 + high) * old)).to(tokens.advantage.dtype)


erc.always_current = True  # pyright: ignore[reportFunctionMemberAccess]


@reads("probability", "advantage")
def cw_grpo(tokens: Tokens) -> Tensor:
    """exp(-c^2 / 2 sigma^2) over its mean, c = Cov - mean(Cov), sigma the std of Cov (CW-GRPO, 2605.11538).

    Whether the paper centres its Cov_t = (log pi - mean)(A - mean) a second time could not be confirmed.
    """
    cov = covariance(tokens).double()
    c = cov - cov.mean()
    variance = (c * c).mean()
    w = torch.exp(-c * c / (2 * variance.clamp_min(torch.finfo(torch.float64).tiny)))
    return (w / w.mean()).to(tokens.advantage.dtype)


@reads("probability", "advantage", "entropy")
def stare(tokens: Tokens, *, share: float, up: float, down: float, target: float) -> Tensor:
    """While mean H < target: up on the `share` least likely tokens with A > 0, down on those with A < 0 (2606.19236).

    The gate looks at the batch itself, not at the step before.
    """
    w = torch.ones_like(tokens.advantage)
    if not len(tokens) or tokens.entropy.double().mean() >= target:
        return w
    for sign, factor in ((1, up), (-1, down)):
        side = tokens.advantage * sign > 0
        w = torch.where(smallest_share(tokens.logprob, side, tokens.key, share), factor, w)
    return w


def score(tokens: Tokens) -> Tensor:
    """S = pi (log pi + H): minus the entropy's first-order change when the token's logit rises (2602.03392)."""
    return tokens.logprob.exp() * (tokens.logprob + tokens.entropy)


def kept(deviation: Tensor, mu: float, sides: str) -> Tensor:
    """True where a deviation is within mu of its root mean square, above only or on both sides."""
    bound = mu * (deviation * deviation).mean().sqrt()
    return (deviation <= bound) & (deviation >= (-bound if sides == "both" else -torch.inf))


@reads("probability", "entropy")
def clip_b(tokens: Tokens, *, mu: float, sides: str) -> Tensor:
    """Weight 0 where S - mean_batch(S) is beyond mu standard deviations (Clip_B, 2602.03392)."""
    s = score(tokens)
    return kept(s - s.mean(), mu, sides).to(tokens.advantage.dtype)


@reads("probability", "entropy")
def clip_v(tokens: Tokens, *, mu: float, sides: str) -> Tensor:
    """Weight 0 where S - E_pi(S) is beyond mu root mean squares, E_pi(S) = S2L + H S2 exactly (Clip_V, 2602.03392).

    What the paper divides by could not be confirmed; here it is the root mean square over the batch.
    """
    return kept(score(tokens) - (tokens.s2l + tokens.entropy * tokens.s2), mu, sides).to(tokens.advantage.dtype)
