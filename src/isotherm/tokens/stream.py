"""Rectangles of responses <-> the flat stream of their tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from isotherm.records import Rollout, Tokens
from isotherm.tokens.draws import keys


def real(length: Tensor, width: int) -> Tensor:
    """[R, T] true where a token exists."""
    return torch.arange(width, device=length.device) < length[:, None]


def flatten(rectangle: np.ndarray | Tensor, length: np.ndarray | Tensor) -> Tensor:
    """[R, T] -> [tokens], response after response."""
    values = torch.as_tensor(rectangle)
    return values[real(torch.as_tensor(length), values.shape[1])]


def spread(per_response: np.ndarray | Tensor, length: np.ndarray | Tensor) -> Tensor:
    """[R] -> [tokens]: each token gets the value of its response."""
    return torch.as_tensor(per_response).repeat_interleave(torch.as_tensor(length))


def stream(rollout: Rollout, advantage: Tensor, seed: int) -> Tokens:
    """The tokens of a rollout as the sampler saw them; scoring replaces its log-probs and entropies by its own."""
    length = torch.as_tensor(rollout.length)
    position = (
        torch.cat([torch.arange(n) for n in length.tolist()]) if len(length) else torch.zeros(0, dtype=torch.int64)
    )
    group, sample = spread(rollout.group, length), spread(rollout.sample, length)
    logprob, entropy = flatten(rollout.logprob, length), flatten(rollout.entropy, length)
    return Tokens(
        logprob=logprob,
        entropy=entropy,
        s2=flatten(rollout.s2, length),
        s2l=flatten(rollout.s2l, length),
        old_logprob=logprob,
        sampler_logprob=logprob,
        advantage=spread(advantage.to(logprob.dtype), length),
        sequence=spread(np.arange(len(length)), length),
        group=group,
        position=position,
        key=keys(seed, rollout.step, group, sample, position),
        old_entropy=entropy,
    )


def per_response(values: Tensor, sequence: Tensor, responses: int) -> Tensor:
    """Mean over the tokens of each response; 0 for a response without tokens."""
    total = values.new_zeros(responses).index_add_(0, sequence, values)
    count = values.new_zeros(responses).index_add_(0, sequence, torch.ones_like(values))
    return total / count.clamp_min(1)
