"""Revisiting Entropy in RL for Large Reasoning Models (arXiv 2511.05993): Positive-Advantage Reweighting."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.method import Measured
from isotherm.records import Tokens
from isotherm.tokens.select import drawn


@reads("advantage")
def par(tokens: Tokens, *, pos: float = 1.0, neg: float = 1.0) -> Tensor:
    """Weight pos (the paper's lambda) on tokens with A > 0, neg on those with A < 0, 1 where A = 0."""
    weight = torch.where(tokens.advantage > 0, pos, torch.where(tokens.advantage < 0, neg, 1.0))
    return weight.to(tokens.advantage.dtype)


@reads("advantage")
def par_exponential(tokens: Tokens, *, k: float = 1.0) -> Tensor:
    """Weight exp(-k A) on tokens with A > 0, 1 on the others: a variant from a digest, which gives no k."""
    return (-k * tokens.advantage.clamp_min(0)).exp()


@reads("advantage")
def rand_pos_clip(tokens: Tokens, *, share: float) -> Tensor:
    """Weight 0 on max(1, floor(share T)) tokens drawn uniformly among those with A > 0 (Rand-Pos-Clip).

    share counts as Clip-Cov's ratio does, of all T tokens, so that both can be of one size; the paper's is unknown.
    """
    count = max(1, math.floor(share * len(tokens))) if share else 0
    return (~drawn(tokens, tokens.advantage > 0, count, salt=2)).to(tokens.advantage.dtype)


def stage(state: dict[str, Any], measured: Measured, *, begin: float = 0.5) -> dict[str, Any]:
    """lambda = 0 for the first half of training, then linear, to 1 in the last step."""
    return {"value": max(0.0, (measured.done - begin) / (1 - begin))}


def epoch(state: dict[str, Any], measured: Measured, *, epochs: int) -> dict[str, Any]:
    """lambda = (e - 1) / (E - 1) in epoch e of E, which are equal parts of the run."""
    current = min(epochs - 1, measured.step * epochs // measured.steps)
    return {"value": current / (epochs - 1)}


def guided(state: dict[str, Any], measured: Measured, *, target: float = 0.2, delta: float = 0.05) -> dict[str, Any]:
    """lambda <- clip(lambda - delta, 0, 1) if H < target, else clip(lambda + delta, 0, 1)."""
    move = -delta if measured.entropy < target else delta
    return {"value": min(1.0, max(0.0, state["value"] + move))}
