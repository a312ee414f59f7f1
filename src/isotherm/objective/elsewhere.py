"""Rows that verl 0.9.1 and TRL 1.16.0 have as well: their settings, each difference with its switch or its reason.

`bench/agree.py` runs both, for losses and slopes and for the advantages of grpo, dr_grpo, rloo and opo. The advantages
of gpg and reinforce_pp, and what concerns micro-batches, were read in the sources only. Settings are verl's Hydra keys,
with `actor` for `actor_rollout_ref.actor`, and fields of TRL's GRPOConfig; "" where a package has nothing of the kind.
Plain data, without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Elsewhere:
    """The settings that give a row, and what then still differs."""

    verl: str = ""
    trl: str = ""
    differences: tuple[str, ...] = ()


BATCH = "The peer takes its statistics from a micro-batch; here they are those of the whole optimizer batch."
FREE = "verl does not hold |log r| within 20 for this loss; here it is held, so that no token overflows."
LIMIT = "|log r| is held within 20 here and in verl, so that no token overflows; TRL does not hold it."
LONE = "A group of one response has advantage 0 here; verl leaves its reward as it is, which is no baseline."
DUAL = "verl always has a dual clip, of 3 unless set: ppo_clip(dual=3.0); a very large clip_ratio_c is none."
TIE = "Where r is exactly the dual bound, TRL keeps the whole slope, verl and Isotherm half of it."
TRUNCATED = "A completion that TRL masks as truncated counts in its mean over responses, with loss 0; not so here."
WINDOW = (
    "TRL divides by the tokens of a rollout over its number of updates; here every update is divided by its own "
    "tokens, which is the same for one update per rollout."
)
STOPPED = (
    "The value of the loss differs: here it is a function with exactly the paper's gradient, with no factor stopped."
)

PPO = Elsewhere(
    "actor.policy_loss.loss_mode=vanilla, actor.clip_ratio_low=low, actor.clip_ratio_high=high, "
    "actor.clip_ratio_c=dual, actor.loss_agg_mode=token-mean",
    "loss_type=dapo, epsilon=low, epsilon_high=high, delta=dual",
    (DUAL, TIE, LIMIT, WINDOW),
)
CLIP_COV = Elsewhere(
    "actor.policy_loss.loss_mode=clip_cov, actor.policy_loss.clip_cov_ratio=ratio, actor.policy_loss.clip_cov_lb=low, "
    "actor.policy_loss.clip_cov_ub=high, actor.clip_ratio_low=clip_low, actor.clip_ratio_high=clip_high",
    "",
    (
        "verl's ratio clip is 0.2 unless set, and clipped tokens are left out of its draw: "
        "clip_cov(clip_low=0.2, clip_high=0.2); the paper's scripts have 1 and 1.",
        "verl draws by torch.randperm; here a token has its draw from its key, the same for any split and any order.",
        BATCH + " With one response in a micro-batch verl chooses nothing.",
        FREE,
    ),
)
KL_COV = Elsewhere(
    "actor.policy_loss.loss_mode=kl_cov, actor.policy_loss.kl_cov_ratio=k, actor.policy_loss.ppo_kl_coef=beta",
    "",
    (
        "verl ships k 2e-4 and beta 0.1: kl_cov(k=2e-4, beta=0.1), which is kl_cov_shipped; the paper has beta 1.",
        "A distance below 1e-6 is rounding here and has no slope; verl gives it the slope of its sign: "
        "kl_cov(rounding=0.0).",
        "Ties are settled by key here, by torch.topk in verl.",
        BATCH,
        FREE,
    ),
)

ELSEWHERE: dict[str, Elsewhere] = {
    "grpo": Elsewhere(
        "algorithm.adv_estimator=grpo, algorithm.norm_adv_by_std_in_grpo=True",
        "loss_type=dapo, scale_rewards=group, multi_objective_aggregation=sum_then_normalize",
        (
            "TRL divides by the deviation plus 1e-4: grpo(floor=1e-4); verl by that plus 1e-6, as here.",
            LONE,
            *PPO.differences,
        ),
    ),
    "dr_grpo": Elsewhere(
        "algorithm.adv_estimator=grpo, algorithm.norm_adv_by_std_in_grpo=False, "
        "actor.loss_agg_mode=seq-mean-token-sum-norm, actor.loss_scale_factor=length",
        "loss_type=dr_grpo, scale_rewards=none, max_completion_length=length",
        (
            "Without loss_scale_factor verl divides by the width of the padded responses, which changes from batch to "
            "batch; here length is a constant.",
            LONE,
            TRUNCATED,
        ),
    ),
    "rloo": Elsewhere(
        "algorithm.adv_estimator=rloo",
        "",
        (
            LONE,
            "TRL's RLOOTrainer clips the product of the ratios of a whole response; here the ratio is that of a token.",
        ),
    ),
    "opo": Elsewhere("algorithm.adv_estimator=opo", "", (LONE,)),
    "reinforce_pp": Elsewhere(
        "algorithm.adv_estimator=reinforce_plus_plus, algorithm.gamma=1.0",
        "",
        (
            "verl whitens over tokens, so a long response counts more in the mean and the deviation; here a response "
            "counts once, as its reward is one number.",
        ),
    ),
    "gpg": Elsewhere(
        "algorithm.adv_estimator=gpg, actor.policy_loss.loss_mode=gpg",
        "",
        (
            "verl multiplies by responses over responses of non-zero reward, which depends on where 0 lies; "
            "gpg(alpha=signal) counts the responses of groups whose rewards differ.",
            LONE,
        ),
    ),
    "sequence_mean": Elsewhere("actor.loss_agg_mode=seq-mean-token-mean", "loss_type=grpo", (TRUNCATED,)),
    "ppo_clip": PPO,
    "clip_higher": PPO,
    "clip_lower": PPO,
    "clip_tighter": PPO,
    "no_clip": Elsewhere(
        "actor.policy_loss.loss_mode=vanilla, actor.clip_ratio_low=1.0, actor.clip_ratio_high=1e30, "
        "actor.clip_ratio_c=1e30",
        "loss_type=dapo, epsilon=1.0, epsilon_high=1e30",
        (LIMIT, WINDOW),
    ),
    "entropy_bonus": Elsewhere(
        "actor.entropy_coeff=c",
        "entropy_coef=c",
        (
            "TRL's bonus is the mean over tokens under every loss_type: entropy_bonus(mean=tokens); here and in verl "
            "it has the normalizer of the loss.",
            "With top_entropy_quantile TRL's bonus is the mean over the tokens that the mask leaves; here "
            "forking_tokens weighs the surrogate alone.",
        ),
    ),
    "reference_kl": Elsewhere(
        "actor.use_kl_loss=True, actor.kl_loss_coef=c, actor.kl_loss_type=low_var_kl",
        "beta=c",
        (
            "verl holds k3 within 10 of 0, and its slope there is 0: reference_kl(most=10.0).",
            "verl's types kl and mse are reference_kl(estimator=k1) and reference_kl(estimator=k2).",
            "verl's types with + have the value of k1 or k3 and the slope of k2: reference_kl(estimator=k2).",
            "TRL multiplies k3 by r unless use_bias_correction_kl=False: reference_kl(weight=ratio).",
            "log pi_ref - log pi is held within 20 here, for k3 only in verl, and nowhere in TRL.",
        ),
    ),
    "clip_cov": CLIP_COV,
    "clip_cov_digest": replace(CLIP_COV, verl=CLIP_COV.verl.replace("clip_low", "1.0").replace("clip_high", "1.0")),
    "kl_cov": KL_COV,
    "kl_cov_32b": KL_COV,
    "kl_cov_shipped": KL_COV,
    "kl_cov_digest": KL_COV,
    "cispo": Elsewhere(
        "actor.policy_loss.loss_mode=cispo, actor.clip_ratio_low=low, actor.clip_ratio_high=high",
        "loss_type=cispo, epsilon_high=1 + high",
        (
            "verl also has a lower bound, 0.2 and 0.2 unless set: cispo(low=0.2, high=0.2).",
            "TRL's epsilon_high is the bound itself, 1 + high here: its 5.0 is cispo(high=4.0).",
            STOPPED,
            WINDOW,
        ),
    ),
    "gspo": Elsewhere(
        "actor.policy_loss.loss_mode=gspo, actor.clip_ratio_low=low, actor.clip_ratio_high=high, "
        "actor.loss_agg_mode=seq-mean-token-mean",
        "loss_type=grpo, importance_sampling_level=sequence, epsilon=low, epsilon_high=high",
        (
            STOPPED,
            "The ratio of a response is held below e^10 in verl, below e^20 here.",
            "A weight on a token acts on the slope of that token here; in TRL, whose ratio is differentiated as a "
            "whole, it spreads over the response.",
            "TRL also has sequence ratios under cispo and sapo, which no row here has.",
            TRUNCATED,
        ),
    ),
    "sapo": Elsewhere(
        "actor.policy_loss.loss_mode=sapo, actor.tau_pos=pos, actor.tau_neg=neg",
        "loss_type=sapo, sapo_temperature_pos=pos, sapo_temperature_neg=neg",
        (
            "Both always give every response the same share, whatever loss_agg_mode says: sapo + sequence_mean.",
            "TRL holds the temperatures in float32.",
            LIMIT,
            TRUNCATED,
        ),
    ),
    "forking_tokens": Elsewhere(
        "",
        "top_entropy_quantile=rho",
        (
            "TRL takes the tokens that are not below an interpolated quantile, ties included, so their number may be "
            "one more than floor(rho T): forking_tokens(edge=quantile).",
            BATCH + " In TRL it is that of all processes.",
        ),
    ),
    "adaptive_bonus": Elsewhere(
        "",
        "use_adaptive_entropy=True, entropy_target=target, entropy_coef_delta=delta, entropy_coef_max=most, "
        "entropy_coef=start, entropy_coef_min=least",
        (
            "TRL's delta is 0.005 and its most 1.0 unless set: adaptive_bonus(delta=0.005, most=1.0).",
            "Where H is exactly the target TRL raises the coefficient; here, as the paper has it, it falls.",
            "TRL's bonus is the mean over tokens under every loss_type: adaptive_bonus(mean=tokens).",
            "With top_entropy_quantile TRL measures H, and gives the bonus, over the tokens that the mask leaves; here "
            "over all.",
            "Both measure H of the step just done, and the first step has no bonus.",
        ),
    ),
}
