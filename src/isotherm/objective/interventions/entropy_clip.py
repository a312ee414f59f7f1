"""Clips that are wider where the entropy is high: Archer (2507.15778) and the clip of HAPO (2509.16591).

A surrogate sees no quantile, so the clip is decided on the batch under the current policy, as a weight 0 on r A. The
gradient is that of the clipped ratio; the value of the loss is not, since a clipped token adds 0 to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.surrogates import log_ratio
from isotherm.records import Tokens


def forks(tokens: Tokens, *, quantile: float, over: str) -> Tensor:
    """True for the tokens of largest H, of the batch or of each response; ties by key.

    They are as many as lie above the quantile, interpolated between tokens, where no two are equal:
    n - 1 - floor(quantile (n - 1)), so 1 of 2 to 6 at .8.
    """
    owner = tokens.sequence if over == "response" else torch.zeros_like(tokens.sequence)
    order = tokens.key.argsort()
    order = order[(-tokens.entropy[order]).argsort(stable=True)]
    order = order[owner[order].argsort(stable=True)]
    _, count = owner.unique(return_counts=True)
    rank = torch.cat([torch.arange(n) for n in count.tolist()]) if len(owner) else owner
    most = (count - 1 - torch.floor(quantile * (count.double() - 1) + 1e-9)).repeat_interleave(count)
    return torch.zeros_like(owner, dtype=torch.bool).index_put((order,), rank.to(owner.device) < most)


@reads("clip", "advantage", "entropy")
def entropy_clip(
    tokens: Tokens,
    *,
    quantile: float,
    over: str,
    low: float,
    high: float,
    fork_low: float,
    fork_high: float,
) -> Tensor:
    """0 where r > 1 + e+ with A > 0 or r < 1 - e- with A < 0, else 1; e is fork_* where H is high, else low, high.

    Archer (2507.15778): .5 above the .8 quantile, .2 below, on both sides. HAPO (2509.16591): more room
    upwards above it, more room downwards below it.
    """
    r, fork = log_ratio(tokens).exp(), forks(tokens, quantile=quantile, over=over)
    rises = (r > 1 + torch.where(fork, fork_high, high)) & (tokens.advantage > 0)
    falls = (r < 1 - torch.where(fork, fork_low, low)) & (tokens.advantage < 0)
    return (~(rises | falls)).to(tokens.advantage.dtype)


entropy_clip.always_current = True  # pyright: ignore[reportFunctionMemberAccess]


@reads("entropy")
def sure_kl(tokens: Tokens, *, c: float, quantile: float, over: str) -> Tensor:
    """The coefficient c of KL(pi | pi_ref) below the quantile of H, 0 above it (Archer, 2507.15778)."""
    return c * (~forks(tokens, quantile=quantile, over=over)).to(tokens.advantage.dtype)
