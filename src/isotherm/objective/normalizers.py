"""N_t, the share of each token in the loss, from counts of the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.records import Tokens


def token_mean(tokens: Tokens) -> Tensor:
    """1 / T: every token counts the same (DAPO, arXiv 2503.14476, eq. 12)."""
    return torch.full_like(tokens.advantage, 1 / max(1, len(tokens)))


def sequence_mean(tokens: Tokens) -> Tensor:
    """1 / (R |o_i|): every response counts the same (GRPO, arXiv 2402.03300, eq. 3)."""
    _, slot, count = tokens.sequence.unique(return_inverse=True, return_counts=True)
    return 1 / (count[slot] * max(1, len(count))).to(tokens.advantage.dtype)


def constant_length(tokens: Tokens, *, length: float) -> Tensor:
    """1 / (R L) with one constant L: no bias by length (Dr. GRPO, arXiv 2503.20783, sec. 3.2)."""
    responses = max(1, len(tokens.sequence.unique()))
    return torch.full_like(tokens.advantage, 1 / (responses * length))
