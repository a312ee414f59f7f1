"""Estimators, clips, normalizers and penalties that everything else stands beside."""

from __future__ import annotations

from functools import partial

from isotherm.advantages import estimators
from isotherm.objective import normalizers, penalties, surrogates
from isotherm.objective.bounds import above, at_least, off_or_above, one_of
from isotherm.objective.factors import Part
from isotherm.objective.method import Penalty, Slots


def clip(low: float, high: float, dual: float = 0.0):
    return partial(surrogates.ppo_clip, low=low, high=high, dual=dual)


def grpo(floor: float = 1e-6) -> Slots:
    """Group mean and standard deviation plus floor; with it go, unless other terms bring theirs, PPO clip .2/.2 and
    token mean."""
    above(0, floor=floor)
    return {"advantage": partial(estimators.grpo, floor=floor)}


def dr_grpo(length: float = 64.0) -> Slots:
    """Group mean without division, every response divided by one constant length."""
    at_least(1, length=length)
    return {"advantage": estimators.mean_only, "normalizer": partial(normalizers.constant_length, length=length)}


def rloo() -> Slots:
    """Leave-one-out baseline."""
    return {"advantage": estimators.leave_one_out}


def reinforce_pp() -> Slots:
    """Advantages whitened over the whole batch."""
    return {"advantage": estimators.globally_whitened}


def reinforce() -> Slots:
    """No baseline, no ratio, no clip."""
    return {"advantage": estimators.no_baseline, "surrogate": surrogates.reinforce}


def ppo_clip(low: float = 0.2, high: float = 0.2, dual: float = 0.0) -> Slots:
    """The ratio is clipped to [1 - low, 1 + high]; dual bounds the loss of tokens of negative advantage, 0 is off."""
    at_least(0, low=low, high=high)
    off_or_above(1, dual=dual)
    return {"surrogate": clip(low, high, dual)}


def clip_higher(low: float = 0.2, high: float = 0.28, dual: float = 0.0) -> Slots:
    """A wider upper clip bound leaves room for unlikely tokens to rise."""
    return ppo_clip(low, high, dual)


def sequence_mean() -> Slots:
    """Every response counts the same, whatever its length."""
    return {"normalizer": normalizers.sequence_mean}


def entropy_bonus(c: float = 1e-3, mean: str = "loss") -> Slots:
    """Adds -c H to the loss, its mean that of the loss or that over tokens."""
    return {"penalties": (bonus(partial(penalties.entropy_bonus, c=c), mean),)}


def bonus(coefficient: Part, mean: str) -> Penalty:
    one_of(("loss", "tokens"), mean=mean)
    return Penalty(penalties.negative_entropy, coefficient, normalizers.token_mean if mean == "tokens" else None)


def reference_kl(c: float = 1e-3, estimator: str = "k3", most: float = 0.0, weight: str = "none") -> Slots:
    """Adds c KL(pi | pi_ref) to the loss, at most most (0: any) per token, with the weight none or ratio; the reference
    is the starting model unless another is named."""
    one_of(("k1", "k2", "k3"), estimator=estimator)
    one_of(("none", "ratio"), weight=weight)
    at_least(0, most=most)
    cost = partial(penalties.divergence, estimator=estimator, most=most, weight=weight)
    return {"penalties": (Penalty(cost, partial(penalties.reference_kl, c=c)),)}
