"""The table of methods: name, what builds it, paper, equation, the setting it was published for, knob."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from isotherm.objective.knobs import KNOBS, Knob
from isotherm.objective.method import Slots
from isotherm.objective.rows import balanced, baselines, basic, controls, entropy, further, moving, partial_entropy


@dataclass(frozen=True)
class Row:
    """A published method: its paper, the equation that defines it, and the setting it was published for."""

    name: str
    build: Callable[..., Slots]
    paper: str
    equation: str
    setting: str
    knob: str = ""  # "part.parameter", several apart by ", "; see knobs.py
    needs_updates: bool = False  # changes nothing when each rollout is used for a single update

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.build).parameters)

    @property
    def knobs(self) -> tuple[Knob, ...]:
        return tuple(KNOBS[name] for name in self.knob.split(", ") if name)

    @property
    def summary(self) -> str:
        return " ".join((self.build.__doc__ or "").split())


ENTROPY_MECHANISM, PAR, DAPO = "arXiv 2505.22617", "arXiv 2511.05993", "arXiv 2503.14476"
STEER, SKYWORK = "arXiv 2510.10150", "arXiv 2505.22312"

ROWS = (
    Row("grpo", basic.grpo, "arXiv 2402.03300", "sec. 4.1.2", "any size"),
    Row("dr_grpo", basic.dr_grpo, "arXiv 2503.20783", "eq. 3", "any size"),
    Row("rloo", basic.rloo, "arXiv 2402.14740", "eq. 8", "any size"),
    Row("reinforce_pp", basic.reinforce_pp, "arXiv 2501.03262", "eq. 8", "any size"),
    Row("reinforce", basic.reinforce, "Williams 1992", "eq. 4", "any size"),
    Row("sequence_mean", basic.sequence_mean, "arXiv 2402.03300", "eq. 3", "any size"),
    Row("ppo_clip", basic.ppo_clip, "arXiv 1707.06347", "eq. 7", "any size", "ppo_clip.high", needs_updates=True),
    Row("clip_higher", basic.clip_higher, DAPO, "eq. 10", "32B", "ppo_clip.high", needs_updates=True),
    Row(
        "entropy_bonus", basic.entropy_bonus, "arXiv 1602.01783", "sec. 4", "7B: 1e-4 to 1e-2 tried", "entropy_bonus.c"
    ),
    Row("reference_kl", basic.reference_kl, "arXiv 2402.03300", "eq. 4", "7B: 1e-3 to 1e-1 tried", "reference_kl.c"),
    Row("par", entropy.par_row, PAR, "entropy-guided schedule", "7B, 8B: target 0.2, delta 0.05", "par.pos, par.neg"),
    Row("clip_cov", entropy.clip_cov, ENTROPY_MECHANISM, "eq. 10, 11", "7B, 32B: ratio 2e-4, window 1 to 5"),
    Row(
        "kl_cov",
        entropy.kl_cov,
        ENTROPY_MECHANISM,
        "eq. 12, 13",
        "7B: k 2e-3; 32B: k 2e-4; beta 1",
        "kl_cov.beta",
        needs_updates=True,
    ),
    Row("steer", entropy.steer, STEER, "sec. 4", "1.5B, 7B, 14B: floor 0.7, clip .2/.28, dual 10", "steer.floor"),
    Row("steer_released", entropy.steer_released, STEER, "sec. 4, released code", "7B: floor 0.8", "steer.floor"),
    Row("steer_linear", entropy.steer_linear, STEER, "sec. 4, ablation", "7B: 0.8 to 1.2", "steer.floor"),
    Row("steer_binary", entropy.steer_binary, STEER, "sec. 4, ablation", "7B: floor and share unknown", "steer.floor"),
    Row("par_exponential", entropy.par_exponential, PAR, "sec. 5, of a digest", "k unknown", "par_exponential.k"),
    Row("positive_only", entropy.positive_only, PAR, "sec. 4", "7B: final H 0.015"),
    Row("negative_only", entropy.negative_only, PAR, "sec. 4", "7B: final H 0.884"),
    Row("clip_lower", controls.clip_lower, PAR, "sec. 4", "7B: low 0.28", "ppo_clip.high", needs_updates=True),
    Row("clip_tighter", controls.clip_tighter, PAR, "sec. 4", "7B: low 0.12", "ppo_clip.high", needs_updates=True),
    Row("no_clip", controls.no_clip, PAR, "sec. 4", "7B", needs_updates=True),
    Row("rand_pos_clip", controls.rand_pos_clip, PAR, "sec. 4", "7B: share unknown"),
    Row(
        "rand_clip_cov",
        controls.rand_clip_cov,
        ENTROPY_MECHANISM,
        "eq. 10, 11 without the window",
        "a control, any size",
    ),
    Row(
        "rand_kl_cov",
        controls.rand_kl_cov,
        ENTROPY_MECHANISM,
        "eq. 12, 13 at random",
        "a control, any size",
        "rand_kl_cov.beta",
        needs_updates=True,
    ),
    Row("random_weight", controls.random_weight, PAR, "sec. 4, any selection at random", "a control, any size"),
    Row("at_random", controls.at_random, PAR, "sec. 4, any decision at random", "a control, any size"),
    Row("kl_cov_32b", entropy.kl_cov_32b, ENTROPY_MECHANISM, "eq. 12, 13", "32B", "kl_cov.beta", needs_updates=True),
    Row(
        "kl_cov_shipped",
        entropy.kl_cov_shipped,
        ENTROPY_MECHANISM,
        "eq. 12, 13",
        "no size",
        "kl_cov.beta",
        needs_updates=True,
    ),
    Row(
        "kl_cov_digest",
        entropy.kl_cov_digest,
        ENTROPY_MECHANISM,
        "eq. 12, 13",
        "no size",
        "kl_cov.beta",
        needs_updates=True,
    ),
    Row("clip_cov_digest", entropy.clip_cov_digest, ENTROPY_MECHANISM, "eq. 10, 11", "no size"),
    Row("forking_tokens", baselines.forking, "arXiv 2506.01939", "sec. 5", "8B, 14B, 32B: rho 0.2"),
    Row("entropy_adv", baselines.entropy_adv, "arXiv 2506.14758", "sec. 3", "7B", "entropy_advantage.alpha"),
    Row("w_reinforce", baselines.w_reinforce, "arXiv 2506.01347", "sec. 5", "4B, 7B: pos 0.1"),
    Row("psr", baselines.psr, "arXiv 2506.01347", "sec. 3", "4B, 7B"),
    Row("nsr", baselines.nsr, "arXiv 2506.01347", "sec. 3", "4B, 7B"),
    Row(
        "adaptive_bonus",
        baselines.adaptive_bonus,
        "arXiv 2505.22312",
        "sec. 3",
        "7B, 32B: target 0.2",
        "adaptive_entropy.c",
    ),
    Row("opo", baselines.opo, "arXiv 2505.23585", "sec. 3", "7B"),
    Row("unlikeliness", baselines.unlikeliness, "arXiv 2506.02355", "sec. 4", "7B: beta 0.25"),
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
        "7B: .16, .2, cap 10",
        "dcpo.high",
        True,
    ),
    Row("dcpo_smooth", further.dcpo_smooth, "arXiv 2509.02333", "smoothing rule", "7B"),
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

# Balances, and clips that are decided on the batch.
ROWS += (
    Row("opefo", balanced.opefo_row, "arXiv 2605.11491", "balance rule", "any size"),
    Row("entropy_mask", balanced.entropy_mask_row, STEER, "mask rule", "none: the share is ours", "mask_falling.floor"),
    Row("archer", balanced.archer, "arXiv 2507.15778", "dual-clip rule", "1.5B: .5, .2", "entropy_clip.fork_high"),
    Row("hapo", balanced.hapo, "arXiv 2509.16591", "clip rule", "1.5B to 8B", "entropy_clip.fork_high", True),
    Row("bapo", balanced.bapo_row, "arXiv 2510.18927", "balance rule", "7B, 32B", "balanced_clip.rho", True),
)

# Penalties over a part of the vocabulary, and clips that a control moves.
ROWS += (
    Row("siren", partial_entropy.siren_row, "arXiv 2509.25133", "anchored-entropy rule", "7B", "siren.anchor"),
    Row("aent", partial_entropy.aent_row, "arXiv 2509.03493", "clamped-entropy rule", "p .25 to .33", "aent.c"),
    Row("lp_reg", partial_entropy.lp_reg_row, "arXiv 2510.03222", "proxy rule", "14B: clip 1 and 9", "lp_reg.beta"),
    Row("flexible", moving.flexible, "arXiv 2602.09782", "dynamic-clip rule", "any size", "flexible_clip.mode", True),
    Row("adapo", moving.adapo, "ADAPO 2026", "adaptive-clip rule", "target not confirmed", "ppo_clip.high", True),
    Row("mai", moving.mai, "MAI 2026", "adaptive-clip rule", "target not confirmed", "ppo_clip.high", True),
)
METHODS = {row.name: row for row in ROWS}
