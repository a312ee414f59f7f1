"""What one step of a method does to the mean entropy, to the first order and up to the scale of the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm.objective.method import Decision, Method, decide, loss
from isotherm.own import owned, packaged
from isotherm.records import Tokens
from isotherm.tokens.entropy_change import exact, of_entropy_slope


class Push(NamedTuple):
    """How an update pulls at each token: minus the slope of its loss."""

    logprob: Tensor  # c = -d loss / d log pi: clip, ratio, advantage, weight, normalizer, and penalties on log pi
    entropy: Tensor  # e = -d loss / d H, of penalties on the exact entropy


def push(tokens: Tokens, method: Method, decision: Decision) -> Push:
    """-d loss / d (log pi, H) per token."""
    found = pulls(tokens, method, decision)
    return Push(found["logprob"], found["entropy"])


def pulls(tokens: Tokens, method: Method, decision: Decision) -> dict[str, Tensor]:
    """-d loss / d log pi, H and each functional, by name, per token: automatic differentiation over flat vectors."""
    columns = {"logprob": tokens.logprob, "entropy": tokens.entropy, **tokens.extra}
    with torch.enable_grad():
        leaves = {name: x.detach().requires_grad_() for name, x in columns.items()}
        extra = {name: leaves[name] for name in tokens.extra}
        seen = dataclasses.replace(tokens, logprob=leaves["logprob"], entropy=leaves["entropy"], extra=extra)
        total = loss(seen, method, decision)
        slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True) if total.requires_grad else ()
    found = {name: -g for name, g in zip(leaves, slopes, strict=False) if g is not None}
    return {name: found.get(name, torch.zeros_like(x)) for name, x in columns.items()}


def changes(tokens: Tokens, method: Method, temperature: float = 1.0) -> Tensor:
    """dH of every token at a logit step of 1, its share in the loss included: the exact first order of the loss.

    What penalties do through the entropy is taken from the one token sampled; functionals have no part. Their sum is
    the change of the mean entropy, up to one scale. The tokens are of the policy that is updated next.
    """
    c, e = push(tokens, method, decide(tokens, method))
    return exact(tokens, c, temperature=temperature) + of_entropy_slope(tokens, e, temperature=temperature)


@contextmanager
def sloped(method: Method, tokens: Tokens) -> Iterator[None]:
    """Where a slope within cannot be computed, the part of the user's own whose slope cannot be is named."""
    try:
        yield
    except RuntimeError:
        for part, *more in ((method.surrogate, tokens.advantage), *((p.cost,) for p in method.penalties)):
            if not packaged(part):
                leaf = tokens.logprob.detach().requires_grad_()
                with torch.enable_grad(), owned(part):
                    values = part(dataclasses.replace(tokens, logprob=leaf), *more)
                    if values.requires_grad:
                        torch.autograd.grad(values.sum(), leaf)
        raise
