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
    "steer(estimator=exact)",
    "steer(estimator=printed, form=linear)",
    "steer(low=0.99, high=5.0, form=binary) + par",
    "rand_pos_clip(share=0.1)",
    "rand_clip_cov(ratio=0.1)",
    "rand_kl_cov(k=0.1)",
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
    "steer(floor=1.0)": "ppo_clip(high=0.28, dual=10.0)",
    "steer_released(floor=1.0)": "ppo_clip(high=0.28, dual=10.0)",
    "steer_linear(floor=1.0)": "ppo_clip(high=0.28, dual=10.0)",
    "steer_binary(share=0.0)": "ppo_clip(high=0.28, dual=10.0)",
    "par_exponential(k=0.0)": "grpo",
    "rand_pos_clip(share=0.0)": "grpo",
    "rand_kl_cov(beta=0.0)": "no_clip",
    "kl_cov_shipped(beta=0.0)": "no_clip",
    "clip_lower(low=0.2)": "grpo",
    "clip_tighter(low=0.2)": "grpo",
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
    "steer": "ppo_clip(high=0.28, dual=10.0)",
    "steer(estimator=exact)": "steer",
    "steer_released": "ppo_clip(high=0.28, dual=10.0)",
    "steer_linear": "ppo_clip(high=0.28, dual=10.0)",
    "steer_binary": "ppo_clip(high=0.28, dual=10.0)",
    "par_exponential": "grpo",
    "positive_only": "grpo",
    "negative_only": "grpo",
    "clip_lower": "grpo",
    "clip_tighter": "grpo",
    "no_clip": "grpo",
    "rand_pos_clip(share=0.1)": "grpo",
    "rand_clip_cov": "ppo_clip(low=1.0, high=1.0)",
    "rand_kl_cov": "no_clip",
}
