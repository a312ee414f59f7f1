"""The reference that the policy becomes every so many steps (ProRL, arXiv 2505.24864), kept in checkpoints."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor

from isotherm.policy.model import Policy

PREFIX = "reference."


def twin(policy: Policy) -> Policy:
    """The policy as it is now, which goes on without it."""
    return dataclasses.replace(policy, module=copy.deepcopy(policy.module))


def as_tensors(reference: Policy) -> dict[str, Tensor]:
    return {PREFIX + name: p for name, p in reference.parameters().items()}


@torch.no_grad()
def from_tensors(policy: Policy, tensors: dict[str, Tensor]) -> Policy:
    """A twin of the policy with the weights that a checkpoint holds for the reference."""
    reference = twin(policy)
    for name, p in reference.parameters().items():
        p.copy_(tensors[PREFIX + name])
    return reference
