"""STEER (arXiv 2510.10150): tokens whose update changes the entropy much, in either direction, weigh less."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.surrogates import clipped, log_ratio
from isotherm.records import Tokens
from isotherm.tokens import entropy_change
from isotherm.tokens.select import smallest

LEAST = 0.02  # the released code takes max |Omega| for no smaller
ESTIMATORS = ("published", "released", "printed", "exact")
FORMS = ("exponential", "released", "linear", "binary")


def push(tokens: Tokens, *, low: float, high: float, dual: float = 0.0) -> Tensor:
    """c = I_clip r A: the slope of PPO's surrogate in log pi, 0 where its clip or its dual clip stops the gradient."""
    r = log_ratio(tokens).exp()
    stopped = clipped(tokens, low=low, high=high)
    if dual:
        stopped |= (tokens.advantage < 0) & (r > dual)
    return torch.where(stopped, 0.0, r * tokens.advantage)


def omega(tokens: Tokens, *, estimator: str, low: float, high: float, dual: float) -> Tensor:
    """Omega_t for eta = 1 by one of the four estimators of `tokens/entropy_change.py`."""
    if estimator == "released":
        return entropy_change.released(tokens, log_ratio(tokens).exp() * tokens.advantage)
    return getattr(entropy_change, estimator)(tokens, push(tokens, low=low, high=high, dual=dual))


@reads("clip", "probability", "advantage", "entropy")
def steer(
    tokens: Tokens,
    *,
    form: str = "exponential",
    estimator: str = "published",
    floor: float = 0.7,
    share: float = 0.2,
    low: float = 0.2,
    high: float = 0.28,
    dual: float = 10.0,
) -> Tensor:
    """w falls in x = |Omega|, m = max x over the batch, alpha = -ln(floor) (arXiv 2510.10150, sec. 4).

    exponential: w = exp(-alpha x / m). released: k = alpha / max(m, 0.02), w = clip(exp(-k x), floor, 1).
    linear: the min-max map of x onto [floor, 2 - floor], the largest x lowest.
    binary: floor on the largest `share` of x, 1 elsewhere; the paper's rule for this ablation could not be confirmed.
    The authors' code takes m in each micro-batch, and runs its linear form on its own estimator. Penalties and other
    weights have no part in Omega.
    """
    x = omega(tokens, estimator=estimator, low=low, high=high, dual=dual).abs()
    if form == "linear":
        return linear(x, floor)
    if form == "binary":
        chosen = smallest(-x, tokens.key, math.floor(share * len(x)))
        return torch.ones_like(x).masked_fill(chosen, floor)
    m = x.amax() if len(x) else x.new_ones(())
    m = m.clamp_min(LEAST if form == "released" else torch.finfo(x.dtype).tiny)
    return (floor ** (x / m)).clamp(floor, 1.0)


def linear(x: Tensor, floor: float) -> Tensor:
    """The min-max map onto [floor, 2 - floor], falling; 1 where all x are equal."""
    if not len(x):
        return x
    low, high = x.aminmax()
    place = (x - low) / (high - low) if high > low else torch.full_like(x, 0.5)
    return 2 - floor - 2 * (1 - floor) * place
