"""What one step of a method does to the mean entropy, to the first order and up to the scale of the step."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm.objective.method import Decision, Method, decide, loss
from isotherm.records import Tokens
from isotherm.tokens.entropy_change import exact, of_entropy_slope


class Push(NamedTuple):
    """c = -d loss / d log pi and e = -d loss / d H of every token: all that a loss asks of a policy."""

    logprob: Tensor
    entropy: Tensor


def push(tokens: Tokens, method: Method, decision: Decision) -> Push:
    leaves = [x.detach().requires_grad_() for x in (tokens.logprob, tokens.entropy)]
    with torch.enable_grad():
        total = loss(dataclasses.replace(tokens, logprob=leaves[0], entropy=leaves[1]), method, decision)
        slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return Push(-slopes[0], -slopes[1])


def changes(tokens: Tokens, method: Method, temperature: float = 1.0) -> Tensor:
    """dH of every token at a logit step of 1, its share in the loss included: the exact first order of the whole loss.

    Their sum is the change of the mean entropy, up to one scale. The tokens are of the policy that is updated next.
    """
    c, e = push(tokens, method, decide(tokens, method))
    return exact(tokens, c, temperature=temperature) + of_entropy_slope(tokens, e, temperature=temperature)
