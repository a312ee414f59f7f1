"""Methods that balance what raises the entropy against what lowers it: by weights, by masks, by moving bounds."""

from __future__ import annotations

from functools import partial

from isotherm.objective import penalties, surrogates
from isotherm.objective.bounds import above, at_least, at_most, off_or_above, one_of
from isotherm.objective.interventions import bapo, entropy_clip, entropy_mask, opefo, steer
from isotherm.objective.method import Penalty, Slots
from isotherm.objective.rows.basic import clip

OVER = ("batch", "response")


def opefo_row(estimator: str = "exact", low: float = 0.2, high: float = 0.2, dual: float = 0.0) -> Slots:
    """Tokens that raise the entropy and tokens that lower it are rescaled to cancel; published for updates = 1."""
    one_of(steer.ESTIMATORS, estimator=estimator)
    at_least(0, low=low, high=high)
    off_or_above(1, dual=dual)
    clips = {"low": low, "high": high, "dual": dual}
    return {"weights": (partial(opefo.opefo, estimator=estimator, **clips),), "default_surrogate": clip(**clips)}


def entropy_mask_row(estimator: str = "exact", share: float = 0.2, floor: float = 0.0, side: str = "down",
                     low: float = 0.2, high: float = 0.2, dual: float = 0.0) -> Slots:  # fmt: skip
    """Tokens predicted to lower (side=down) or raise (up) the entropy most weigh floor; control: random_weight."""
    one_of(steer.ESTIMATORS, estimator=estimator)
    one_of(("down", "up"), side=side)
    at_least(0, share=share, floor=floor, low=low, high=high)
    off_or_above(1, dual=dual)
    at_most(1, share=share)
    part = entropy_mask.mask_falling if side == "down" else entropy_mask.mask_rising
    clips = {"low": low, "high": high, "dual": dual}
    weight = partial(part, estimator=estimator, share=share, floor=floor, **clips)
    return {"weights": (weight,), "default_surrogate": clip(**clips)}


def archer(quantile: float = 0.8, wide: float = 0.5, narrow: float = 0.2, c: float = 1e-3, over: str = "response",
           estimator: str = "k3") -> Slots:  # fmt: skip
    """A wide clip on tokens of high entropy, a narrow one and a reference KL on the others, by response or batch."""
    at_least(0, quantile=quantile, wide=wide, narrow=narrow, c=c)
    at_most(1, quantile=quantile)
    one_of(OVER, over=over)
    one_of(("k1", "k2", "k3"), estimator=estimator)
    where = {"quantile": quantile, "over": over}
    weight = partial(entropy_clip.entropy_clip, low=narrow, high=narrow, fork_low=wide, fork_high=wide, **where)
    cost = partial(penalties.divergence, estimator=estimator)
    kl = Penalty(cost, partial(entropy_clip.sure_kl, c=c, **where))
    return {"weights": (weight,), "surrogate": surrogates.ratio, "penalties": (kl,)}


def hapo(quantile: float = 0.8, low: float = 0.5, high: float = 0.2, fork_low: float = 0.2, fork_high: float = 0.5,
         over: str = "batch") -> Slots:  # fmt: skip
    """HAPO's clip alone: room upwards where entropy is high, downwards where it is low (bounds, over not confirmed)."""
    at_least(0, quantile=quantile, low=low, high=high, fork_low=fork_low, fork_high=fork_high)
    at_most(1, quantile=quantile)
    one_of(OVER, over=over)
    bounds = {"low": low, "high": high, "fork_low": fork_low, "fork_high": fork_high}
    weight = partial(entropy_clip.entropy_clip, quantile=quantile, over=over, **bounds)
    return {"weights": (weight,), "surrogate": surrogates.ratio}


def bapo_row(rho: float = 0.4, low: float = 0.6, low_most: float = 0.9, high: float = 1.2, high_most: float = 3.0,
             low_step: float = 0.02, high_step: float = 0.05) -> Slots:  # fmt: skip
    """Bounds of r move until A > 0 carries a share rho of the loss (steps not confirmed; the authors' code: rho .5)."""
    at_least(0, rho=rho, low=low, high=high)
    at_most(1, rho=rho)
    at_least(low, low_most=low_most)
    at_least(high, high_most=high_most)
    above((low_most - low) / 1000, low_step=low_step)
    above((high_most - high) / 1000, high_step=high_step)
    steps = {"low_step": low_step, "high_step": high_step}
    ends = {"low": low, "low_most": low_most, "high": high, "high_most": high_most}
    return {"weights": (partial(bapo.balanced_clip, rho=rho, **ends, **steps),), "surrogate": surrogates.ratio}
