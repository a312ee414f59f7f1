"""Studies of the PAR paper: clip settings, and random choices of equal size for methods that choose tokens."""

from __future__ import annotations

from functools import partial

from isotherm.objective import deals, surrogates, weights
from isotherm.objective.bounds import at_least, at_most
from isotherm.objective.interventions import (
    entropy_mechanism,
    par,
)
from isotherm.objective.method import Penalty, Slots
from isotherm.objective.rows.basic import clip, ppo_clip


def clip_lower(low: float = 0.28, high: float = 0.2, dual: float = 0.0) -> Slots:
    """A wider lower clip bound."""
    return ppo_clip(low, high, dual)


def clip_tighter(low: float = 0.12, high: float = 0.2, dual: float = 0.0) -> Slots:
    """A tighter lower clip bound."""
    return ppo_clip(low, high, dual)


def no_clip() -> Slots:
    """The bare ratio, free of any clip."""
    return {"surrogate": surrogates.ratio}


def rand_pos_clip(share: float = 2e-4) -> Slots:
    """Detaches a random share of the tokens of positive advantage; the paper's share is unknown, this is Clip-Cov's."""
    at_least(0, share=share)
    at_most(1, share=share)
    return {"weights": (partial(par.rand_pos_clip, share=share),)}


def rand_clip_cov(ratio: float = 2e-4, clip_low: float = 1.0, clip_high: float = 1.0) -> Slots:
    """Control of Clip-Cov: detaches as many tokens, whatever their covariance."""
    at_least(0, ratio=ratio, clip_low=clip_low, clip_high=clip_high)
    at_most(1, ratio=ratio)
    weight = partial(entropy_mechanism.rand_clip_cov, ratio=ratio, clip_low=clip_low, clip_high=clip_high)
    return {"weights": (weight,), "default_surrogate": clip(clip_low, clip_high)}


def rand_kl_cov(k: float = 2e-3, beta: float = 1.0) -> Slots:
    """Control of KL-Cov: holds as many tokens near the old policy, whatever their covariance."""
    at_least(0, k=k, beta=beta)
    at_most(1, k=k)
    choose = partial(entropy_mechanism.rand_kl_cov, k=k, beta=beta)
    return {"penalties": (Penalty(entropy_mechanism.distance, choose),), "default_surrogate": surrogates.ratio}


def random_weight(share: float = 0.8, floor: float = 0.0) -> Slots:
    """A random share of the tokens weighs floor: control of forking_tokens (0.8), steer_binary, entropy_mask (0.2)."""
    at_least(0, share=share, floor=floor)
    at_most(1, share=share)
    return {"weights": (partial(weights.random_weight, share=share, floor=floor),)}


def at_random() -> Slots:
    """Deals out at random what the terms beside it decided, among tokens of one sign of the advantage: any control."""
    return {"deal": deals.within_sign}
