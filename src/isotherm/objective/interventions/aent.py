"""AEnt (arXiv 2509.03493): an entropy bonus over the likelier part of the vocabulary, whose coefficient is adapted."""

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

LOWEST = -1e30  # in place of log 0, so that 0 log 0 = 0


def clamped_entropy(logp: Tensor, *, p: float) -> Tensor:
    """Entropy of pi renormalised over its ceil((1 - p) V) likeliest words (AEnt, 2509.03493)."""
    count = max(1, math.ceil((1 - p) * logp.shape[-1]))
    q = torch.log_softmax(logp.topk(count, -1).values.clamp_min(LOWEST), -1)
    return -(q.exp() * q).sum(-1)


@reads()
def aent(tokens: Tokens, *, c: float) -> Tensor:
    """The coefficient c of minus the clamped entropy on every token, moved by its control (2509.03493)."""
    return torch.full_like(tokens.advantage, c)


def mean_entropy(tokens: Tokens, *, functional: Functional) -> Tensor:
    """The mean clamped entropy of a batch."""
    return value(tokens, functional).double().mean()


def projected(state: dict[str, Any], measured: Measured, *, target: float, rate: float, most: float) -> dict[str, Any]:
    """c <- clip(c + rate (target - H), 0, most), H the mean clamped entropy of the step (AEnt, 2509.03493).

    The paper's own step and its interval for H could not be confirmed.
    """
    if measured.own is None:
        return state
    return {"value": min(most, max(0.0, state["value"] + rate * (target - measured.own)))}
