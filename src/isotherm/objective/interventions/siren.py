"""SIREN (arXiv 2509.25133): the entropy of the nucleus, on the tokens that fork, is held near its first value."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.functionals import value
from isotherm.objective.method import Measured
from isotherm.records import Tokens
from isotherm.tokens.score import Functional
from isotherm.tokens.select import smallest

LOWEST = -1e30  # in place of log 0, so that 0 log 0 = 0
UNKNOWN = -1.0  # the anchor before the first step


def nucleus_entropy(logp: Tensor, *, mass: float) -> Tensor:
    """Entropy of q, pi renormalised over its nucleus: the fewest likeliest words whose probability reaches mass.

    That SIREN (2509.25133) renormalises could not be confirmed. Which words are inside has no gradient.
    """
    ordered = logp.sort(-1, descending=True).values.clamp_min(LOWEST)
    p = ordered.exp()
    inside = (p.cumsum(-1) - p).detach() < mass
    q = torch.log_softmax(torch.where(inside, ordered, LOWEST), -1)
    return -(q.exp() * q).sum(-1)


def selected(tokens: Tokens, share: float) -> Tensor:
    """True for the max(1, floor(share T)) tokens of largest H in the batch."""
    count = min(max(1, math.floor(share * len(tokens))), len(tokens))
    return smallest(-tokens.entropy, tokens.key, count)


@reads("entropy")
def siren(tokens: Tokens, *, c: float, share: float, anchor: float, functional: Functional) -> Tensor:
    """2 c (H_sel - anchor) T / n on the n selected tokens, 0 elsewhere.

    With N = 1 / T its gradient is that of c (H_sel - anchor)^2, a square of a mean: H_sel is that of
    the nucleus entropy over them (2509.25133). Other normalizers weigh that mean by T N_t, and the value of the loss is
    that of the linear term. Before there is an anchor the coefficient is 0.
    """
    chosen = selected(tokens, share)
    if anchor < 0 or not len(tokens):
        return torch.zeros_like(tokens.advantage)
    mean = value(tokens, functional)[chosen].double().mean()
    return (2 * c * (mean - anchor) * len(tokens) / chosen.sum() * chosen).to(tokens.advantage.dtype)


def selected_entropy(tokens: Tokens, *, share: float, functional: Functional) -> Tensor:
    """H_sel of a batch."""
    return value(tokens, functional)[selected(tokens, share)].double().mean()


def keep_first(state: dict[str, Any], measured: Measured) -> dict[str, Any]:
    """anchor = H_sel of the first step that trained on anything, the mean over its mini-batches (2509.25133)."""
    first = state["value"] < 0 and measured.own is not None
    return {"value": measured.own} if first else state
