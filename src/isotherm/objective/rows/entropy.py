"""The three papers on entropy: PAR, Clip-Cov and KL-Cov, STEER, in every setting that was published."""

from __future__ import annotations

from functools import partial

from isotherm.objective import surrogates
from isotherm.objective.bounds import at_least, at_most, off_or_above, one_of
from isotherm.objective.interventions import (
    entropy_mechanism,
    par,
)
from isotherm.objective.interventions import steer as steering
from isotherm.objective.method import Control, Penalty, Slots
from isotherm.objective.rows.basic import clip


def par_row(pos: float = 1.0, neg: float = 1.0, schedule: str = "guided", target: float = 0.2, delta: float = 0.05,
            begin: float = 0.5, epochs: int = 10) -> Slots:  # fmt: skip
    """Tokens of positive advantage weigh lambda, moved by a schedule: guided, stage, epoch, or none (pos stays)."""
    updates = {
        "guided": partial(par.guided, target=target, delta=delta),
        "stage": partial(par.stage, begin=begin),
        "epoch": partial(par.epoch, epochs=epochs),
    }
    one_of((*updates, "none"), schedule=schedule)
    at_least(2, epochs=epochs)
    at_least(0, pos=pos, neg=neg)
    if pos != 1.0 and schedule != "none":
        raise ValueError(f"the schedule {schedule} moves pos, so pos={pos:g} goes with schedule=none only")
    if begin >= 1:
        raise ValueError(f"begin must be below 1, not {begin:g}")
    slots: Slots = {"weights": (partial(par.par, pos=pos, neg=neg),)}
    if schedule == "none":
        return slots
    return slots | {"controls": (Control(knob="par.pos", start=0.0, update=updates[schedule]),)}


def clip_cov(ratio: float = 2e-4, low: float = 1.0, high: float = 5.0,
             clip_low: float = 1.0, clip_high: float = 1.0) -> Slots:  # fmt: skip
    """Detaches a few random tokens whose covariance of log pi and advantage lies in a window, of those not clipped."""
    at_least(0, ratio=ratio, clip_low=clip_low, clip_high=clip_high)
    at_most(1, ratio=ratio)
    clips = {"clip_low": clip_low, "clip_high": clip_high}
    weight = partial(entropy_mechanism.clip_cov, ratio=ratio, low=low, high=high, **clips)
    return {"weights": (weight,), "default_surrogate": clip(clip_low, clip_high)}


def kl_cov(k: float = 2e-3, beta: float = 1.0, rounding: float = entropy_mechanism.NOTHING) -> Slots:
    """Holds the tokens of largest covariance near the policy that scored the batch; rounding counts as no distance."""
    at_least(0, k=k, beta=beta, rounding=rounding)
    at_most(1, k=k)
    cost = partial(entropy_mechanism.distance, rounding=rounding)
    choose = partial(entropy_mechanism.kl_cov, k=k, beta=beta)
    return {"penalties": (Penalty(cost, choose),), "default_surrogate": surrogates.ratio}


def steer(form: str = "exponential", estimator: str = "published", floor: float = 0.7, share: float = 0.2,
          low: float = 0.2, high: float = 0.28, dual: float = 10.0) -> Slots:  # fmt: skip
    """Tokens weigh the less, down to floor, the more their update changes the entropy; share belongs to binary."""
    one_of(steering.FORMS, form=form)
    one_of(steering.ESTIMATORS, estimator=estimator)
    at_least(0, floor=floor, share=share, low=low, high=high)
    at_most(1, floor=floor, share=share)
    off_or_above(1, dual=dual)
    clips = {"low": low, "high": high, "dual": dual}
    weight = partial(steering.steer, form=form, estimator=estimator, floor=floor, share=share, **clips)
    return {"weights": (weight,), "default_surrogate": clip(**clips)}


def steer_released(floor: float = 0.8) -> Slots:
    """STEER as its authors' code has it, but for the maximum, which is that of the whole batch."""
    return steer("released", "released", floor)


def steer_linear(estimator: str = "published", floor: float = 0.8) -> Slots:
    """STEER with weights linear in the change of entropy, from 2 - floor down to floor."""
    return steer("linear", estimator, floor)


def steer_binary(estimator: str = "published", floor: float = 0.0, share: float = 0.2) -> Slots:
    """STEER with floor on the share of tokens of largest change, 1 on the others; floor and share are our choice."""
    return steer("binary", estimator, floor, share)


def par_exponential(k: float = 1.0) -> Slots:
    """A variant of PAR: tokens of positive advantage weigh exp(-k A); no paper gives k."""
    at_least(0, k=k)
    return {"weights": (partial(par.par_exponential, k=k),)}


def positive_only() -> Slots:
    """Only tokens with A >= 0 are trained on."""
    return par_row(pos=1.0, neg=0.0, schedule="none")


def negative_only() -> Slots:
    """Only tokens with A <= 0 are trained on."""
    return par_row(pos=0.0, neg=1.0, schedule="none")


def kl_cov_32b(k: float = 2e-4, beta: float = 1.0) -> Slots:
    """KL-Cov as published for 32B."""
    return kl_cov(k, beta)


def kl_cov_shipped(k: float = 2e-4, beta: float = 0.1) -> Slots:
    """KL-Cov as a popular framework ships it, which is no setting of the paper."""
    return kl_cov(k, beta)


def kl_cov_digest(k: float = 1e-3, beta: float = 1.0) -> Slots:
    """KL-Cov with the share that a digest of the paper gives."""
    return kl_cov(k, beta)


def clip_cov_digest(ratio: float = 1e-4, low: float = 1.0, high: float = 5.0) -> Slots:
    """Clip-Cov with the share that a digest of the paper gives."""
    return clip_cov(ratio, low, high)
