"""Rows of the table of methods, continued: the clips."""

from __future__ import annotations

from functools import partial
from typing import Any

from isotherm.objective import normalizers, surrogates
from isotherm.objective.bounds import above, at_least, below
from isotherm.objective.interventions import clips

Slots = dict[str, Any]


def cispo(high: float = 4.0) -> Slots:
    """Clips the weight min(r, 1 + high) instead of the gradient: no token is left out; high is the knob (default ?)."""
    at_least(0, high=high)
    return {"surrogate": partial(clips.cispo, high=high)}


def gspo(low: float = 3e-4, high: float = 4e-4) -> Slots:
    """One ratio per response, the geometric mean of its tokens', clipped as a whole; every response counts the same."""
    at_least(0, low=low, high=high)
    weights = (partial(clips.sequence_ratio, low=low, high=high),)
    return {"surrogate": surrogates.reinforce, "weights": weights, "normalizer": normalizers.sequence_mean}


def sapo(pos: float = 1.0, neg: float = 1.05) -> Slots:
    """A soft gate of temperature tau by the sign of the advantage in place of the clip."""
    above(0, pos=pos, neg=neg)
    return {"surrogate": partial(clips.sapo, pos=pos, neg=neg)}


def ce_gppo(low: float = 0.2, high: float = 0.2, lower: float = 0.5, upper: float = 1.0) -> Slots:
    """Clipped tokens keep a bounded gradient, lower and upper times that at the bound (the clip's .2 and .2: ?)."""
    at_least(0, low=low, high=high, lower=lower, upper=upper)
    below(1, low=low)
    return {"surrogate": partial(clips.ce_gppo, low=low, high=high, lower=lower, upper=upper)}


def gppo(low: float = 0.2, high: float = 0.2) -> Slots:
    """Clipped tokens keep the gradient that they had at the bound (the clip's .2 and .2: ?)."""
    return ce_gppo(low, high, 1.0, 1.0)


def dcpo(low: float = 0.16, high: float = 0.2, cap: float = 10.0) -> Slots:
    """Clip bounds that widen as pi_old falls; its smoothed advantages over steps are not here (low and high: ?)."""
    at_least(0, low=low, high=high)
    at_least(1, cap=cap)
    return {"surrogate": partial(clips.dcpo, low=low, high=high, cap=cap)}


def rescue(low: float = 0.2, high: float = 0.2, noise: float = 0.1) -> Slots:
    """Clipped tokens near the bound keep their gradient by chance, under noise on the ratio (its range: ?)."""
    at_least(0, low=low, high=high, noise=noise)
    return {"surrogate": partial(clips.rescue, low=low, high=high, noise=noise)}
