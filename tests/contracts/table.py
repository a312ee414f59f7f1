"""Every method the laws are asked of: each row as published, its variants, and compositions."""

from __future__ import annotations

from isotherm.objective.published import METHODS

VARIANTS = (
    "par(schedule=stage)",
    "par(schedule=epoch)",
    "par(pos=0.3, neg=0.7, schedule=none)",
    "reference_kl(c=0.1, estimator=k1)",
    "reference_kl(c=0.1, estimator=k2)",
    "reference_kl(c=0.1, estimator=k3)",
    "entropy_bonus(c=0.1)",
    "ppo_clip(dual=3.0)",
    "dr_grpo(length=12)",
    "clip_cov(ratio=0.1, low=0.2)",
    "kl_cov(k=0.1, beta=0.5)",
    "kl_cov + clip_cov(ratio=0.05) + ppo_clip",
    "reinforce + sequence_mean",
    "clip_higher + par + kl_cov",
    "clip_higher + sequence_mean + par(pos=0.4, schedule=none) + clip_cov(ratio=0.05) + entropy_bonus",
    "cispo(high=0.1)",
    "gspo(low=0.1, high=0.1)",
    "gspo(low=0.2, high=0.2) + par(pos=0.4, schedule=none)",
    "sapo(pos=3.0, neg=5.0)",
    "ce_gppo(lower=0.75, upper=0.3)",
    "dcpo(low=0.02, high=0.02, cap=2.0)",
    "rescue(noise=0.3)",
    "cispo + kl_cov(k=0.1) + sequence_mean",
)
EXPRESSIONS = (*METHODS, *VARIANTS)

# with these parameters a method is its surrogate alone
OFF = {
    "par(pos=1.0, neg=1.0, schedule=none)": "grpo",
    "entropy_bonus(c=0.0)": "grpo",
    "reference_kl(c=0.0)": "grpo",
    "reference_kl(c=0.0, estimator=k1)": "grpo",
    "clip_higher(high=0.2)": "grpo",
    "ppo_clip(dual=0.0)": "grpo",
    "clip_higher + par(schedule=none) + kl_cov(beta=0.0) + entropy_bonus(c=0.0)": "clip_higher",
    "reinforce + kl_cov(beta=0.0)": "reinforce",
    "clip_cov(low=1e9, high=2e9)": "ppo_clip(low=1.0, high=1.0)",
    "ce_gppo(lower=0.0, upper=0.0)": "grpo",
    "rescue(noise=0.0)": "grpo",
}
# and with these it is not
ON = {
    "par(pos=0.5, schedule=none)": "grpo",
    "entropy_bonus(c=0.1)": "grpo",
    "reference_kl(c=0.1)": "grpo",
    "clip_higher(high=0.4)": "grpo",
    "ppo_clip(dual=1.01)": "grpo",
    "sequence_mean": "grpo",
    "reinforce + kl_cov": "reinforce",
    "clip_cov": "ppo_clip(low=1.0, high=1.0)",
    "cispo": "grpo",
    "gspo": "reinforce + sequence_mean",
    "sapo": "grpo",
    "gppo": "grpo",
    "ce_gppo": "gppo",
    "dcpo": "grpo",
    "rescue": "grpo",
}
