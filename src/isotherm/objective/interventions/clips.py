"""Other clips than PPO's: CISPO (2506.13585), GSPO (2507.18071), SAPO (2511.20347), GPPO (2508.07629), CE-GPPO
(2509.20712), DCPO (2509.02333) and near-boundary rescue (2605.22703).

Where a paper stops the gradient of a ratio, f here is the function with exactly that gradient, so that no part needs a
stop: beyond a bound b = log r it goes on as the tangent of r, e^b (1 + log r - b). The value of the loss then differs.
As everywhere |log r| is held within 20, and f is flat beyond, but for CISPO's straight ends.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.surrogates import log_ratio, ppo_clip
from isotherm.records import Tokens
from isotherm.tokens.draws import uniform


@reads("clip", "advantage")
def cispo(tokens: Tokens, advantage: Tensor, *, high: float, low: float = 1.0) -> Tensor:
    """df = c A dlog pi, c = clip(r, 1 - low, 1 + high): no token loses its gradient (CISPO, 2506.13585).

    The paper writes sg(c) A log pi. low = 1 is no lower bound, which it left open. f is straight beyond a bound, for a
    log r of any size.
    """
    x = tokens.logprob - tokens.old_logprob
    f, up = log_ratio(tokens).exp(), math.log1p(high)
    f = torch.where(x > up, (1 + high) * (1 + x - up), f)
    if low < 1:
        down = math.log1p(-low)
        f = torch.where(x < down, (1 - low) * (1 + x - down), f)
    return f * advantage


@reads("clip", "advantage")
def ce_gppo(tokens: Tokens, advantage: Tensor, *, low: float, high: float, lower: float, upper: float) -> Tensor:
    """PPO's clip, but df = upper (1 + high) A dlog pi where r > 1 + high and A > 0, lower (1 - low) A dlog pi where
    r < 1 - low and A < 0.

    lower = upper = 1 is GPPO (2508.07629), others are CE-GPPO (2509.20712), 0 and 0 are PPO.
    """
    x, up, down = log_ratio(tokens), math.log1p(high), math.log1p(-low)
    above = (1 + high) * (1 + upper * (x - up))
    below = (1 - low) * (1 + lower * (x - down))
    f = torch.where((x > up) & (advantage > 0), above, x.exp())
    return torch.where((x < down) & (advantage < 0), below, f) * advantage


@reads("clip", "advantage")
def sapo(tokens: Tokens, advantage: Tensor, *, pos: float, neg: float) -> Tensor:
    """4 / tau sigmoid(tau (r - 1)) A with tau = pos where A > 0, else neg (SAPO, 2511.20347): slope A at r = 1."""
    tau = torch.full_like(advantage, neg).masked_fill(advantage > 0, pos)
    return 4 / tau * torch.sigmoid(tau * (log_ratio(tokens).exp() - 1)) * advantage


@reads("clip", "probability", "advantage")
def dcpo(tokens: Tokens, advantage: Tensor, *, low: float, high: float, cap: float) -> Tensor:
    """min(r A, clip(r, l, h) A), wider for rarer tokens (DCPO, 2509.02333), with q = pi_old:

    l = (1 + sqrt(max(1 - 4 low / q, 0))) / 2, h = min((1 + sqrt(1 + 4 high / q)) / 2, cap). The authors' code also
    bounds the loss of A < 0 by a dual clip of 10.
    """
    q = tokens.old_logprob.exp().clamp_min(torch.finfo(advantage.dtype).tiny)
    least = (1 + (1 - 4 * low / q).clamp_min(0).sqrt()) / 2
    most = ((1 + (1 + 4 * high / q).sqrt()) / 2).clamp_max(cap)
    r = log_ratio(tokens).exp()
    return torch.minimum(r * advantage, r.clamp(least, most) * advantage)


@reads("clip", "advantage")
def rescue(tokens: Tokens, advantage: Tensor, *, low: float, high: float, noise: float) -> Tensor:
    """PPO's clip, but a clipped token with r u back inside keeps r A; u uniform in 1 +- noise (2605.22703).

    u belongs to the token's key: every update of a rollout and every split of the batch draws the same.
    """
    r = log_ratio(tokens).exp()
    u = 1 + noise * (2 * uniform(tokens.key, salt=3).to(r.dtype) - 1)
    inside = (r * u <= 1 + high) & (r * u >= 1 - low)
    return torch.where(inside, r * advantage, ppo_clip(tokens, advantage, low=low, high=high))


@reads("clip", "advantage")
def sequence_ratio(tokens: Tokens, *, low: float, high: float) -> Tensor:
    """s = exp(mean over the response of log r), 0 where PPO's clip of s stops the gradient (GSPO, 2507.18071, eq. 7).

    With A log pi as the surrogate the gradient of a token is s A dlog pi, as of sg(s) exp(log pi - sg(log pi)) A. The
    clip looks at the advantage before any shape. Decided on the batch, so any split of it has the same gradient.
    """
    _, slot, count = tokens.sequence.unique(return_inverse=True, return_counts=True)
    x = log_ratio(tokens)
    s = (x.new_zeros(len(count)).index_add_(0, slot, x) / count).exp()[slot]
    rises, falls = tokens.advantage > 0, tokens.advantage < 0
    return torch.where((rises & (s > 1 + high)) | (falls & (s < 1 - low)), 0.0, s)


sequence_ratio.always_current = True  # pyright: ignore[reportFunctionMemberAccess]
