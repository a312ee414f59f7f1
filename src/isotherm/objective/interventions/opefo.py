"""OPEFO (arXiv 2605.11491): updates are rescaled by the entropy that they give and take, until the two balance."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.interventions.steer import omega
from isotherm.records import Tokens


@reads("clip", "probability", "advantage", "entropy")
def opefo(tokens: Tokens, *, estimator: str, low: float, high: float, dual: float) -> Tensor:
    """1 + l where dH > 0, 1 - l where dH < 0, with l = (D - U) / (D + U), U and D the sums of |dH| that rise and fall.

    So the weighted first order of the batch is (1 + l) U - (1 - l) D = 0 (OPEFO, 2605.11491). dH is that of
    `tokens/entropy_change.py` for c = I_clip r A. The paper is strictly on-policy, where r = 1 and nothing is clipped.
    """
    change = omega(tokens, estimator=estimator, low=low, high=high, dual=dual)
    wide = change.double()
    rising, falling = wide.clamp_min(0).sum(), -wide.clamp_max(0).sum()
    total = (rising + falling).clamp_min(torch.finfo(torch.float64).tiny)
    balance = ((falling - rising) / total).to(change.dtype)
    return 1 + balance * change.sign()
