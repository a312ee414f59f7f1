"""Clips, weights and shapes of 2025 and 2026."""

from __future__ import annotations

from functools import partial

from isotherm.advantages import estimators, history
from isotherm.objective import normalizers, surrogates
from isotherm.objective.bounds import above, at_least, at_most, below, one_of
from isotherm.objective.factors import Part
from isotherm.objective.interventions import clips, gtpo, reweighting, shapes
from isotherm.objective.method import Control, Slots


def cispo(high: float = 4.0, low: float = 1.0) -> Slots:
    """Clips the weight r to [1 - low, 1 + high], not the gradient: no token is left out (high not confirmed)."""
    at_least(0, high=high, low=low)
    at_most(1, low=low)
    return {"surrogate": partial(clips.cispo, high=high, low=low)}


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
    """Clipped tokens keep a bounded gradient, lower and upper times that at the bound (low, high not confirmed)."""
    at_least(0, low=low, high=high, lower=lower, upper=upper)
    below(1, low=low)
    return {"surrogate": partial(clips.ce_gppo, low=low, high=high, lower=lower, upper=upper)}


def gppo(low: float = 0.2, high: float = 0.2) -> Slots:
    """Clipped tokens keep the gradient that they had at the bound (low, high not confirmed)."""
    return ce_gppo(low, high, 1.0, 1.0)


def dcpo(low: float = 0.16, high: float = 0.2, cap: float = 10.0) -> Slots:
    """Clip bounds that widen as pi_old falls; the paper's smoothing of advantages over visits is dcpo_smooth."""
    at_least(0, low=low, high=high)
    at_least(1, cap=cap)
    return {"surrogate": partial(clips.dcpo, low=low, high=high, cap=cap)}


def dcpo_smooth() -> Slots:
    """Advantages standardised by this visit's rewards and by those of all visits to a problem, the smaller mixture."""
    return {"advantage": history.smoothed}


def rescue(low: float = 0.2, high: float = 0.2, noise: float = 0.1) -> Slots:
    """Clipped tokens near the bound keep their gradient by chance, under noise on the ratio (range not confirmed)."""
    at_least(0, low=low, high=high, noise=noise)
    return {"surrogate": partial(clips.rescue, low=low, high=high, noise=noise)}


def qae(k: float = 0.4) -> Slots:
    """The baseline is the k-quantile of the group's rewards: rare successes of hard problems, failures of easy ones."""
    above(0, k=k)
    below(1, k=k)
    return {"advantage": partial(estimators.quantile_baseline, k=k)}


def gpg(alpha: str = "none", norm: str = "none") -> Slots:
    """R - mean and A log pi, no clip; alpha=signal goes with signal=keep; dropping does the same but for length."""
    one_of(("none", "signal"), alpha=alpha)
    one_of(("none", "std"), norm=norm)
    return {"advantage": partial(estimators.gpg, alpha=alpha, norm=norm), "surrogate": surrogates.reinforce}


def erc(low: float = 0.05, high: float = 0.05) -> Slots:
    """Drops tokens whose entropy has moved by a share since the batch was scored (low, high not confirmed)."""
    at_least(0, low=low, high=high)
    return {"weights": (partial(reweighting.erc, low=low, high=high),)}


def cw_grpo() -> Slots:
    """Tokens weigh less the further their covariance of log pi and advantage lies from the mean."""
    return {"weights": (reweighting.cw_grpo,)}


def stare(share: float = 0.1, up: float = 1.1, down: float = 0.9, target: float = 0.3) -> Slots:
    """While entropy is below target, unlikely tokens weigh more where they are rewarded and less where punished."""
    at_least(0, share=share, up=up, down=down)
    at_most(1, share=share)
    return {"weights": (partial(reweighting.stare, share=share, up=up, down=down, target=target),)}


def clip_b(mu: float = 2.5, sides: str = "both") -> Slots:
    """Drops tokens whose entropy score is an outlier of the batch; sides both or upper (which one not confirmed)."""
    at_least(0, mu=mu)
    one_of(("both", "upper"), sides=sides)
    return {"weights": (partial(reweighting.clip_b, mu=mu, sides=sides),)}


def clip_v(mu: float = 8.0, sides: str = "both") -> Slots:
    """Drops tokens whose entropy score is far from its vocabulary mean; sides both or upper (not confirmed)."""
    at_least(0, mu=mu)
    one_of(("both", "upper"), sides=sides)
    return {"weights": (partial(reweighting.clip_v, mu=mu, sides=sides),)}


def a3po(scale: float = 2.0, share: float = 0.2, schedule: str = "linear") -> Slots:
    """Rare tokens of right responses and sure ones of wrong count scale times; decay linear (not confirmed) or none."""
    at_least(0, scale=scale, share=share)
    at_most(1, share=share)
    one_of(("linear", "none"), schedule=schedule)
    slots: Slots = {"shape": (partial(shapes.a3po, scale=scale, share=share),)}
    control = Control(knob="a3po.scale", start=scale, update=partial(shapes.decay, start=scale))
    return slots | ({} if schedule == "none" else {"controls": (control,)})


def repo(beta: float = 1e-2) -> Slots:
    """The advantage of a token falls with its log-probability above the batch's mean (beta not confirmed)."""
    return {"shape": (partial(shapes.repo, beta=beta),)}


def sampled_entropy(c: float = 1e-3) -> Slots:
    """The entropy bonus as an advantage, A - c log pi of the token sampled."""
    return {"shape": (partial(shapes.sampled_entropy, c=c),)}


def reference_ratio(beta: float = 1e-3) -> Slots:
    """The pull to a frozen reference as an advantage, A + beta pi_ref / pi of the token sampled."""
    return {"shape": (partial(shapes.reference_ratio, beta=beta),)}


def soft_return(c: float = 1e-3) -> Slots:
    """The entropy of the rest of the response as a return: A - c times the sum of later log-probabilities."""
    return {"shape": (partial(shapes.soft_return, c=c),)}


def entropy_shape(part: Part, base: float, bonus: float) -> Slots:
    at_least(0, base=base, bonus=bonus)
    return {"shape": (partial(part, base=base, bonus=bonus),)}


def gtpo_row(base: float = 0.9, bonus: float = 0.1) -> Slots:
    """Rewards of right tokens grow with their entropy, penalties of wrong ones fall with it (weights not confirmed)."""
    return entropy_shape(gtpo.gtpo, base, bonus)


def grpo_s(base: float = 0.9, bonus: float = 0.1) -> Slots:
    """GTPO by the mean entropy of whole responses (weights not confirmed)."""
    return entropy_shape(gtpo.grpo_s, base, bonus)
