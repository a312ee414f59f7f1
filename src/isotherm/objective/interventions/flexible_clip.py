"""Flexible entropy control (arXiv 2602.09782): a clip that is wide for rare tokens, upwards or downwards by turns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.method import Measured
from isotherm.objective.surrogates import log_ratio
from isotherm.records import Tokens

RAISE, LOWER = 1.0, -1.0


@reads("clip", "probability", "advantage")
def flexible_clip(
    tokens: Tokens, advantage: Tensor, *, low: float, high: float, alpha: float, beta: float, mode: float
) -> Tensor:
    """min(r A, clip(r, 1 - e-, 1 + e+) A), with a width e(q) = max(alpha q + beta, 0) at q = pi_old (2602.09782).

    mode 1 raises the entropy: e+ = e(q), e- = low. mode -1 lowers it: e- = e(q), e+ = high. Between them the widths
    move linearly, and at 0 this is PPO's clip. That q is of the old policy could not be confirmed.
    """
    width = (alpha * tokens.old_logprob.exp() + beta).clamp_min(0)
    most = 1 + high + max(mode, 0.0) * (width - high)
    least = 1 - low + max(-mode, 0.0) * (low - width)
    r = log_ratio(tokens).exp()
    return torch.minimum(r * advantage, torch.minimum(torch.maximum(r, least), most) * advantage)


def by_turns(state: dict[str, Any], measured: Measured, *, schedule: str, turn: float, floor: float) -> dict[str, Any]:
    """id: raise for the share `turn` of the run, then lower. did: lower until H <= floor H0, raise until H >= ceiling,
    lower to the end. od: the same by turns without end (2602.09782).

    The ceiling falls linearly from H0, the entropy of the first step, to floor H0 at the last. When exactly the paper's
    increase-then-decrease turns, and the form of its ceiling, could not be confirmed.
    """
    first, mode, turns = state.get("first", measured.entropy), state["value"], state.get("turns", 0)
    if schedule == "id":
        mode = RAISE if measured.done < turn else LOWER
    elif mode == LOWER and measured.entropy <= floor * first and (schedule == "od" or not turns):
        mode, turns = RAISE, turns + 1
    elif mode == RAISE and measured.entropy >= first * (1 - (1 - floor) * measured.done):
        mode = LOWER
    return {"value": mode, "first": first, "turns": turns}
