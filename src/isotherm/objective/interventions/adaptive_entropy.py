"""Skywork Open Reasoner 1 (arXiv 2505.22312): an entropy bonus that acts only while the entropy is low."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isotherm.objective.method import Measured
from isotherm.records import Tokens


def adaptive_entropy(tokens: Tokens, *, c: float = 0.0) -> Tensor:
    """The coefficient c of -H on every token, moved by its control (arXiv 2505.22312)."""
    return torch.full_like(tokens.advantage, c)


def raise_while_low(
    state: dict[str, Any],
    measured: Measured,
    *,
    target: float = 0.2,
    delta: float = 1e-4,
    most: float = 0.005,
    start: float = 0.0,
    least: float = 0.0,
) -> dict[str, Any]:
    """c <- clip(c + delta if H < target else c - delta, least, most); in force is c where H <= target, else 0.

    H is that of the step just done. c goes on moving while it is not in force, and most is not exceeded. Before the
    first measurement c is start, and not in force.
    """
    move = delta if measured.entropy < target else -delta
    c = min(most, max(least, state.get("c", start) + move))
    return {"value": c if measured.entropy <= target else 0.0, "c": c}
