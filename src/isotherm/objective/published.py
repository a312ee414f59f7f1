"""The table of methods. A row is a function whose parameters are the method's; it returns the slots that it fills."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from isotherm.advantages import estimators
from isotherm.objective import further, normalizers, penalties, surrogates
from isotherm.objective.bounds import at_least, one_of
from isotherm.objective.interventions import entropy_mechanism, par
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
    weights = (partial(entropy_mechanism.clip_cov, ratio=ratio, low=low, high=high),)
    return {"weights": weights, "default_surrogate": clip(1.0, 1.0)}


def kl_cov(k: float = 2e-3, beta: float = 1.0) -> Slots:
    """Holds the tokens of largest covariance near the policy that scored the batch."""
    at_least(0, k=k, beta=beta)
    choose = partial(entropy_mechanism.kl_cov, k=k, beta=beta)
    return {"penalties": (Penalty(entropy_mechanism.distance, choose),), "default_surrogate": surrogates.ratio}


ENTROPY_MECHANISM, PAR, DAPO = "arXiv 2505.22617", "arXiv 2511.05993", "arXiv 2503.14476"

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
