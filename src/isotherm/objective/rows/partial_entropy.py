"""Penalties over a part of the vocabulary: SIREN, AEnt, Lp-Reg."""

from __future__ import annotations

from functools import partial

from isotherm.objective.bounds import above, at_least, at_most
from isotherm.objective.functionals import minus, of_distribution
from isotherm.objective.interventions import aent, lp_reg, siren
from isotherm.objective.method import Control, Penalty, Slots
from isotherm.objective.rows.basic import clip


def siren_row(c: float = 0.005, p: float = 0.8, share: float = 0.2, anchor: float = siren.UNKNOWN) -> Slots:
    """Holds the nucleus entropy of the tokens of high entropy near its value at the first step, or near an anchor."""
    at_least(0, c=c)
    at_most(1, p=p, share=share)
    above(0, p=p, share=share)
    functional = partial(siren.nucleus_entropy, mass=p)
    coefficient = partial(siren.siren, c=c, share=share, anchor=anchor, functional=functional)
    slots: Slots = {"penalties": (Penalty(partial(of_distribution, functional=functional), coefficient),)}
    if anchor >= 0:
        return slots
    measure = partial(siren.selected_entropy, share=share, functional=functional)
    return slots | {"controls": (Control("siren.anchor", siren.UNKNOWN, siren.keep_first, measure),)}


def aent_row(c: float = 1e-3, p: float = 0.3, target: float = 0.2, rate: float = 1e-3, most: float = 0.01) -> Slots:
    """An entropy bonus without the least likely share p of the vocabulary (c, target, rate and most not confirmed)."""
    at_least(0, c=c, p=p, target=target, rate=rate)
    at_least(c, most=most)
    at_most(0.999, p=p)
    functional = partial(aent.clamped_entropy, p=p)
    update = partial(aent.projected, target=target, rate=rate, most=most)
    measure = partial(aent.mean_entropy, functional=functional)
    cost = Penalty(partial(minus, functional=functional), partial(aent.aent, c=c))
    return {"penalties": (cost,), "controls": (Control("aent.c", c, update, measure),)}


def lp_reg_row(kappa: float = 0.02, share: float = 0.01, beta: float = 1.0) -> Slots:
    """Punished tokens that are rare but above kappa of the likeliest are pulled to the distribution without noise."""
    at_least(0, share=share, beta=beta)
    above(0, kappa=kappa)
    at_most(1, share=share, kappa=kappa)
    cost = partial(of_distribution, functional=partial(lp_reg.proxy_divergence, kappa=kappa))
    chosen = partial(lp_reg.lp_reg, beta=beta, share=share, kappa=kappa, peak=lp_reg.likeliest)
    return {"penalties": (Penalty(cost, chosen),), "default_surrogate": clip(1.0, 9.0)}
