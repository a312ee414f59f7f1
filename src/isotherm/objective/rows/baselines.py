"""What the three papers compare with."""

from __future__ import annotations

from functools import partial

from isotherm.advantages import baselines
from isotherm.objective.bounds import above, at_least, at_most, one_of
from isotherm.objective.factors import reads
from isotherm.objective.interventions import (
    adaptive_entropy,
    entropy_advantage,
    forking_tokens,
)
from isotherm.objective.method import Control, Slots
from isotherm.objective.rows.basic import bonus


def forking(rho: float = 0.2, edge: str = "count") -> Slots:
    """Only the share rho of tokens of highest entropy is trained on, by count or by quantile; published on top of
    clip_higher."""
    above(0, rho=rho)
    at_most(1, rho=rho)
    edges = {"count": forking_tokens.forking_tokens, "quantile": forking_tokens.above_quantile}
    one_of(tuple(edges), edge=edge)
    return {"weights": (partial(edges[edge], rho=rho),)}


def entropy_adv(alpha: float = 0.4, kappa: float = 2.0) -> Slots:
    """The advantage of a token grows with its entropy, by no more than a share of itself."""
    at_least(0, alpha=alpha)
    at_least(1, kappa=kappa)
    return {"shape": (partial(entropy_advantage.entropy_advantage, alpha=alpha, kappa=kappa),)}


def w_reinforce(pos: float = 0.1, neg: float = 1.0) -> Slots:
    """Right answers count pos, wrong ones -neg, without a baseline; groups of one kind count with signal=keep only."""
    at_least(0, pos=pos, neg=neg)
    return {"advantage": partial(baselines.w_reinforce, pos=pos, neg=neg)}


def psr() -> Slots:
    """Positive samples alone, without a baseline; groups that are all right count with signal=keep only."""
    return w_reinforce(pos=1.0, neg=0.0)


def nsr() -> Slots:
    """Negative samples alone, without a baseline; groups that are all wrong count with signal=keep only."""
    return w_reinforce(pos=0.0, neg=1.0)


def adaptive_bonus(target: float = 0.2, delta: float = 1e-4, most: float = 0.005, start: float = 0.0,
                   least: float = 0.0, mean: str = "loss") -> Slots:  # fmt: skip
    """An entropy bonus whose coefficient rises while the entropy is below target, and which is off above it."""
    at_least(0, target=target, delta=delta, most=most, start=start, least=least)
    bounds = {"most": most, "start": start, "least": least}
    update = partial(adaptive_entropy.raise_while_low, target=target, delta=delta, **bounds)
    cost = bonus(partial(adaptive_entropy.adaptive_entropy, c=0.0), mean)
    return {"penalties": (cost,), "controls": (Control(knob="adaptive_entropy.c", start=0.0, update=update),)}


def opo() -> Slots:
    """The baseline is the group's mean reward weighted by length; published with one update per rollout."""
    return {"advantage": baselines.opo}


def unlikeliness(beta: float = 0.25, form: str = "released") -> Slots:
    """Right answers earn the less the likelier they are (released), or the unlikelier (printed); wants signal=keep."""
    one_of(("released", "printed"), form=form)
    at_least(0, beta=beta)
    at_most(1, beta=beta)
    estimator = reads("probability")(baselines.unlikeliness)
    return {"advantage": partial(estimator, beta=beta, form=form)}
