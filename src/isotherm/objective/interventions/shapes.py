"""Advantages per token: A3PO (2512.21625), REPO (2603.11682), the one-sample entropy bonus (Williams 1991), a reference
KL (2402.03300) and the soft return-to-go (Ziebart 2010) as shapes. They act where a penalty would have no gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.method import Measured
from isotherm.records import Tokens
from isotherm.tokens.select import smallest_share


@reads("probability", "advantage")
def a3po(tokens: Tokens, advantage: Tensor, *, scale: float, share: float) -> Tensor:
    """scale A on the `share` least likely tokens with A > 0 and the `share` most likely with A < 0 (A3PO, 2512.21625).

    Shares are of the batch's tokens of that sign; whether the paper takes them per response could not be confirmed.
    """
    rare = smallest_share(tokens.logprob, tokens.advantage > 0, tokens.key, share)
    sure = smallest_share(-tokens.logprob, tokens.advantage < 0, tokens.key, share)
    return torch.where(rare | sure, scale * advantage, advantage)


def decay(state: dict[str, Any], measured: Measured, *, start: float) -> dict[str, Any]:
    """scale = 1 + (start - 1) (1 - s): s goes from 0 in the first step to 1 in the last.

    The paper's own line of decay could not be confirmed.
    """
    return {"value": 1 + (start - 1) * (1 - measured.done)}


@reads("probability", "advantage")
def repo(tokens: Tokens, advantage: Tensor, *, beta: float) -> Tensor:
    """A - beta (log pi - mean(log pi)), mean over the batch (REPO, 2603.11682)."""
    return advantage - beta * (tokens.logprob - tokens.logprob.double().mean().to(tokens.logprob.dtype))


@reads("probability", "advantage")
def sampled_entropy(tokens: Tokens, advantage: Tensor, *, c: float) -> Tensor:
    """A - c log pi: grad H = -E[log pi grad log pi], from the one token sampled (Williams 1991)."""
    return advantage - c * tokens.logprob


@reads("probability", "advantage")
def reference_ratio(tokens: Tokens, advantage: Tensor, *, beta: float) -> Tensor:
    """A + beta pi_ref / pi: -grad KL(pi_ref | pi) = E_pi[pi_ref / pi grad log pi], from the one token sampled.

    It is GRPO's gradient coefficient (2402.03300) without its -1, whose mean is 0. The log-ratio is held within +-20.
    """
    if tokens.ref_logprob is None:
        raise ValueError("a reference ratio needs the reference's log-probabilities")
    return advantage + beta * (tokens.ref_logprob - tokens.logprob).clamp(-20, 20).exp()


reference_ratio.reads_reference = True  # pyright: ignore[reportFunctionMemberAccess]


@reads("probability", "advantage")
def soft_return(tokens: Tokens, advantage: Tensor, *, c: float) -> Tensor:
    """A - c sum_{k > t} log pi_k over the rest of the response: maximum entropy of whole responses (Ziebart 2010).

    The token's own log pi is `sampled_entropy`; with both, the reward is R - c log pi(response).
    """
    _, slot = tokens.sequence.unique(return_inverse=True)
    x = tokens.logprob.double()
    order = (slot * (tokens.position.max() + 1) + tokens.position).argsort() if len(tokens) else slot
    seen = torch.zeros_like(x)
    seen[order] = x[order].cumsum(0)
    responses = int(slot.max()) + 1 if len(tokens) else 0
    ends = x.new_zeros(responses).index_add_(0, slot, x).cumsum(0)
    return advantage - c * (ends[slot] - seen).to(advantage.dtype)
