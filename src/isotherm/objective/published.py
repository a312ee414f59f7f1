"""The table of methods. A row is a function whose parameters are the method's; it returns the slots that it fills."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from isotherm.advantages import baselines, estimators
from isotherm.objective import further, normalizers, penalties, surrogates, weights
from isotherm.objective.bounds import at_least, at_most, one_of
from isotherm.objective.factors import reads
from isotherm.objective.interventions import (
    adaptive_entropy,
    entropy_advantage,
    entropy_mechanism,
    forking_tokens,
    par,
)
from isotherm.objective.interventions import steer as steering
from isotherm.objective.method import Control, Penalty

Slots = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A published method: its paper, the equation that defines it, and the setting it was published for."""

    name: str
    build: Callable[..., Slots]
    paper: str
    equation: str
    setting: str
    knob: str = ""
    needs_updates: bool = False  # changes nothing when each rollout is used for a single update

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.build).parameters)

    @property
    def summary(self) -> str:
        return " ".join((self.build.__doc__ or "").split())


def clip(low: float, high: float, dual: float = 0.0):
    return partial(surrogates.ppo_clip, low=low, high=high, dual=dual)


def grpo() -> Slots:
    """Group mean and standard deviation; with it go, unless other terms bring theirs, PPO clip .2/.2 and token mean."""
    return {"advantage": estimators.grpo}


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
    at_least(0, low=low, high=high, dual=dual)
    return {"surrogate": clip(low, high, dual)}


def clip_higher(low: float = 0.2, high: float = 0.28, dual: float = 0.0) -> Slots:
    """A wider upper clip bound leaves room for unlikely tokens to rise."""
    return ppo_clip(low, high, dual)


def sequence_mean() -> Slots:
    """Every response counts the same, whatever its length."""
    return {"normalizer": normalizers.sequence_mean}


def entropy_bonus(c: float = 1e-3) -> Slots:
    """Adds -c H to the loss."""
    return {"penalties": (Penalty(penalties.negative_entropy, partial(penalties.everywhere, c=c)),)}


def reference_kl(c: float = 1e-3, estimator: str = "k3") -> Slots:
    """Adds c KL(pi | pi_ref) to the loss; the reference is the starting model unless another is named."""
    one_of(("k1", "k2", "k3"), estimator=estimator)
    cost = partial(penalties.reference_kl, estimator=estimator)
    return {"penalties": (Penalty(cost, partial(penalties.everywhere, c=c)),)}


def par_row(pos: float = 1.0, neg: float = 1.0, schedule: str = "guided", target: float = 0.2, delta: float = 0.05,
            begin: float = 0.5, epochs: int = 10) -> Slots:  # fmt: skip
    """Tokens of positive advantage weigh lambda, moved by a schedule: guided, stage, epoch, or none (pos stays)."""
    updates = {
        "guided": partial(par.guided, target=target, delta=delta),
        "stage": partial(par.stage, begin=begin),
        "epoch": partial(par.epoch, epochs=epochs),
    }
    one_of((*updates, "none"), schedule=schedule)
    at_least(1, epochs=epochs)
    at_least(0, pos=pos, neg=neg)
    if pos != 1.0 and schedule != "none":
        raise ValueError(f"the schedule {schedule} moves pos, so pos={pos:g} goes with schedule=none only")
    if begin >= 1:
        raise ValueError(f"begin must be below 1, not {begin:g}")
    if schedule == "none":
        return {"weights": (partial(par.par, pos=pos, neg=neg),)}
    control = Control(knob="par.pos", start=0.0, update=updates[schedule])
    return {"weights": (partial(par.par, pos=0.0, neg=neg),), "control": control}


def clip_cov(ratio: float = 2e-4, low: float = 1.0, high: float = 5.0) -> Slots:
    """Detaches a few random tokens whose covariance of log pi and advantage lies in a window."""
    at_least(0, ratio=ratio)
    weight = partial(entropy_mechanism.clip_cov, ratio=ratio, low=low, high=high)
    return {"weights": (weight,), "default_surrogate": clip(1.0, 1.0)}


def kl_cov(k: float = 2e-3, beta: float = 1.0) -> Slots:
    """Holds the tokens of largest covariance near the policy that scored the batch."""
    at_least(0, k=k, beta=beta)
    choose = partial(entropy_mechanism.kl_cov, k=k, beta=beta)
    return {"penalties": (Penalty(entropy_mechanism.distance, choose),), "default_surrogate": surrogates.ratio}


def steer(form: str = "exponential", estimator: str = "published", floor: float = 0.7, share: float = 0.2,
          low: float = 0.2, high: float = 0.28, dual: float = 10.0) -> Slots:  # fmt: skip
    """Tokens weigh the less, down to floor, the more their update changes the entropy; share belongs to binary."""
    one_of(steering.FORMS, form=form)
    one_of(steering.ESTIMATORS, estimator=estimator)
    at_least(0, floor=floor, share=share, low=low, high=high, dual=dual)
    at_most(1, floor=floor, share=share)
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


def rand_clip_cov(ratio: float = 2e-4) -> Slots:
    """Control of Clip-Cov: detaches as many tokens, whatever their covariance."""
    at_least(0, ratio=ratio)
    return {"weights": (partial(entropy_mechanism.rand_clip_cov, ratio=ratio),), "default_surrogate": clip(1.0, 1.0)}


def rand_kl_cov(k: float = 2e-3, beta: float = 1.0) -> Slots:
    """Control of KL-Cov: holds as many tokens near the old policy, whatever their covariance."""
    at_least(0, k=k, beta=beta)
    choose = partial(entropy_mechanism.rand_kl_cov, k=k, beta=beta)
    return {"penalties": (Penalty(entropy_mechanism.distance, choose),), "default_surrogate": surrogates.ratio}


def random_weight(share: float = 0.8, floor: float = 0.0) -> Slots:
    """A random share of the tokens weighs floor: the control of forking_tokens (share 0.8) or of steer_binary (0.2)."""
    at_least(0, share=share, floor=floor)
    at_most(1, share=share)
    return {"weights": (partial(weights.random_weight, share=share, floor=floor),)}


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


def forking(rho: float = 0.2) -> Slots:
    """Only the share rho of tokens of highest entropy is trained on; published on top of clip_higher."""
    at_least(0, rho=rho)
    at_most(1, rho=rho)
    return {"weights": (partial(forking_tokens.forking_tokens, rho=rho),)}


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


def adaptive_bonus(target: float = 0.2, delta: float = 1e-4, most: float = 0.005) -> Slots:
    """An entropy bonus whose coefficient rises while the entropy is below target, and which is off above it."""
    at_least(0, target=target, delta=delta, most=most)
    update = partial(adaptive_entropy.raise_while_low, target=target, delta=delta, most=most)
    cost = Penalty(penalties.negative_entropy, partial(adaptive_entropy.adaptive_entropy, c=0.0))
    return {"penalties": (cost,), "control": Control(knob="adaptive_entropy.c", start=0.0, update=update)}


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


ENTROPY_MECHANISM, PAR, DAPO = "arXiv 2505.22617", "arXiv 2511.05993", "arXiv 2503.14476"
STEER = "arXiv 2510.10150"

ROWS = (
    Row("grpo", grpo, "arXiv 2402.03300", "sec. 4.1.2", "any size"),
    Row("dr_grpo", dr_grpo, "arXiv 2503.20783", "eq. 3", "any size"),
    Row("rloo", rloo, "arXiv 2402.14740", "eq. 8", "any size"),
    Row("reinforce_pp", reinforce_pp, "arXiv 2501.03262", "eq. 8", "any size"),
    Row("reinforce", reinforce, "Williams 1992", "eq. 4", "any size"),
    Row("sequence_mean", sequence_mean, "arXiv 2402.03300", "eq. 3", "any size"),
    Row("ppo_clip", ppo_clip, "arXiv 1707.06347", "eq. 7", "any size", "ppo_clip.high", needs_updates=True),
    Row("clip_higher", clip_higher, DAPO, "eq. 10", "32B", "ppo_clip.high", needs_updates=True),
    Row("entropy_bonus", entropy_bonus, "arXiv 1602.01783", "sec. 4", "7B: 1e-4 to 1e-2 tried", "everywhere.c"),
    Row("reference_kl", reference_kl, "arXiv 2402.03300", "eq. 4", "7B: 1e-3 to 1e-1 tried", "everywhere.c"),
    Row("par", par_row, PAR, "entropy-guided schedule", "7B, 8B: target 0.2, delta 0.05", "par.pos"),
    Row("clip_cov", clip_cov, ENTROPY_MECHANISM, "eq. 10, 11", "7B, 32B: ratio 2e-4, window 1 to 5"),
    Row(
        "kl_cov",
        kl_cov,
        ENTROPY_MECHANISM,
        "eq. 12, 13",
        "7B: k 2e-3; 32B: k 2e-4; beta 1",
        "kl_cov.beta",
        needs_updates=True,
    ),
    Row("steer", steer, STEER, "sec. 4", "1.5B, 7B, 14B: floor 0.7, clip .2/.28, dual 10", "steer.floor"),
    Row("steer_released", steer_released, STEER, "sec. 4, released code", "7B: floor 0.8", "steer.floor"),
    Row("steer_linear", steer_linear, STEER, "sec. 4, ablation", "7B: 0.8 to 1.2", "steer.floor"),
    Row("steer_binary", steer_binary, STEER, "sec. 4, ablation", "7B: floor and share unknown", "steer.floor"),
    Row("par_exponential", par_exponential, PAR, "sec. 5, of a digest", "k unknown", "par_exponential.k"),
    Row("positive_only", positive_only, PAR, "sec. 4", "7B: final H 0.015"),
    Row("negative_only", negative_only, PAR, "sec. 4", "7B: final H 0.884"),
    Row("clip_lower", clip_lower, PAR, "sec. 4", "7B: low 0.28", "ppo_clip.high", needs_updates=True),
    Row("clip_tighter", clip_tighter, PAR, "sec. 4", "7B: low 0.12", "ppo_clip.high", needs_updates=True),
    Row("no_clip", no_clip, PAR, "sec. 4", "7B", needs_updates=True),
    Row("rand_pos_clip", rand_pos_clip, PAR, "sec. 4", "7B: share unknown"),
    Row("rand_clip_cov", rand_clip_cov, ENTROPY_MECHANISM, "eq. 10, 11 without the window", "a control, any size"),
    Row(
        "rand_kl_cov",
        rand_kl_cov,
        ENTROPY_MECHANISM,
        "eq. 12, 13 at random",
        "a control, any size",
        "rand_kl_cov.beta",
        needs_updates=True,
    ),
    Row("random_weight", random_weight, PAR, "sec. 4, any selection at random", "a control, any size"),
    Row("kl_cov_32b", kl_cov_32b, ENTROPY_MECHANISM, "eq. 12, 13", "32B", "kl_cov.beta", needs_updates=True),
    Row(
        "kl_cov_shipped", kl_cov_shipped, ENTROPY_MECHANISM, "eq. 12, 13", "no size", "kl_cov.beta", needs_updates=True
    ),
    Row("kl_cov_digest", kl_cov_digest, ENTROPY_MECHANISM, "eq. 12, 13", "no size", "kl_cov.beta", needs_updates=True),
    Row("clip_cov_digest", clip_cov_digest, ENTROPY_MECHANISM, "eq. 10, 11", "no size"),
    Row("forking_tokens", forking, "arXiv 2506.01939", "sec. 5", "8B, 14B, 32B: rho 0.2"),
    Row("entropy_adv", entropy_adv, "arXiv 2506.14758", "sec. 3", "7B", "entropy_advantage.alpha"),
    Row("w_reinforce", w_reinforce, "arXiv 2506.01347", "sec. 5", "4B, 7B: pos 0.1"),
    Row("psr", psr, "arXiv 2506.01347", "sec. 3", "4B, 7B"),
    Row("nsr", nsr, "arXiv 2506.01347", "sec. 3", "4B, 7B"),
    Row("adaptive_bonus", adaptive_bonus, "arXiv 2505.22312", "sec. 3", "7B, 32B: target 0.2", "adaptive_entropy.c"),
    Row("opo", opo, "arXiv 2505.23585", "sec. 3", "7B"),
    Row("unlikeliness", unlikeliness, "arXiv 2506.02355", "sec. 4", "7B: beta 0.25"),
)

# Clips, weights and shapes; "rule" where the number of the equation could not be confirmed.
ROWS += (
    Row(
        "cispo",
        further.cispo,
        "arXiv 2506.13585",
        "clipped-weight rule",
        "456B: high not confirmed",
        "cispo.high",
        True,
    ),
    Row("gspo", further.gspo, "arXiv 2507.18071", "eq. 5, 7", "30B: 3e-4, 4e-4", "sequence_ratio.high"),
    Row("sapo", further.sapo, "arXiv 2511.20347", "soft-gate rule", "30B: tau 1.0, 1.05", "sapo.neg", True),
    Row("gppo", further.gppo, "arXiv 2508.07629", "kept-gradient rule", "8B: clip not confirmed", "ce_gppo.high", True),
    Row("ce_gppo", further.ce_gppo, "arXiv 2509.20712", "kept-gradient rule", "7B: .5 or .75, 1", "ce_gppo.high", True),
    Row(
        "dcpo",
        further.dcpo,
        "arXiv 2509.02333",
        "dynamic-clip rule",
        "7B: cap 10, low and high not confirmed",
        "dcpo.high",
        True,
    ),
    Row(
        "rescue",
        further.rescue,
        "arXiv 2605.22703",
        "near-boundary rule",
        "7B to 30B: noise not confirmed",
        "rescue.noise",
        True,
    ),
    Row("qae", further.qae, "arXiv 2509.22611", "quantile-baseline rule", "8B, 14B: k 0.4"),
    Row("gpg", further.gpg, "arXiv 2504.02546", "group-gradient rule", "7B"),
    Row("erc", further.erc, "arXiv 2512.05591", "entropy-ratio rule", "bounds not confirmed", "erc.high", True),
    Row("cw_grpo", further.cw_grpo, "arXiv 2605.11538", "covariance-weight rule", "any size"),
    Row("stare", further.stare, "arXiv 2606.19236", "surprisal-gate rule", "1.5B to 32B", "stare.up"),
    Row("clip_b", further.clip_b, "arXiv 2602.03392", "batch-score rule", "mu 2 to 3", "clip_b.mu"),
    Row("clip_v", further.clip_v, "arXiv 2602.03392", "vocabulary-score rule", "mu 7.5 to 8.5", "clip_v.mu"),
    Row("a3po", further.a3po, "arXiv 2512.21625", "polarity-shape rule", "share 0.2, scale 2", "a3po.scale"),
    Row("repo", further.repo, "arXiv 2603.11682", "centred-shape rule", "beta not confirmed", "repo.beta"),
    Row("sampled_entropy", further.sampled_entropy, "Williams 1991", "entropy rule", "any size", "sampled_entropy.c"),
    Row(
        "reference_ratio",
        further.reference_ratio,
        "arXiv 2402.03300",
        "coefficient rule",
        "any size",
        "reference_ratio.beta",
    ),
    Row("soft_return", further.soft_return, "Ziebart 2010", "soft-return rule", "any size", "soft_return.c"),
    Row("gtpo", further.gtpo_row, "arXiv 2508.04349", "token-reward rule", "weights not confirmed", "gtpo.bonus"),
    Row("grpo_s", further.grpo_s, "arXiv 2508.04349", "response-reward rule", "weights not confirmed", "grpo_s.bonus"),
)
METHODS = {row.name: row for row in ROWS}
