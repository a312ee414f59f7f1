"""Settings of an algorithm under our names, from whatever configuration a log carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isotherm.measure.logs.gather import flattened
from isotherm.measure.logs.names import ISOTHERM

# (ours, endings of the log's own dotted name, in the order of preference)
SETTINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lr", ("actor/optim/lr", "optim/lr", "learning_rate", "actor_learning_rate", "lr")),
    ("steps", ("max_steps", "total_training_steps", "steps")),
    ("group", ("rollout/n", "num_generations", "n_samples_per_prompt", "rollouts_per_example", "group_size", "group")),
    ("temperature", ("rollout/temperature", "sampling/temperature", "rollout_temperature", "temperature")),
    ("max_new", ("max_completion_length", "data/max_response_length", "max_response_length", "max_new")),
    ("updates", ("num_iterations", "ppo_epochs", "updates")),
    ("clip_low", ("actor/clip_ratio_low", "epsilon", "eps_clip", "actor/clip_ratio")),
    ("clip_high", ("epsilon_high", "actor/clip_ratio_high", "eps_clip_high")),
    ("beta", ("actor/kl_loss_coef", "kl_loss_coef", "beta", "init_kl_coef")),
    ("entropy_coef", ("actor/entropy_coeff", "entropy_coef", "entropy_coeff")),
    ("loss", ("policy_loss/loss_mode", "loss_type")),
    ("aggregation", ("actor/loss_agg_mode", "loss_agg_mode")),
    ("ratio", ("importance_sampling_level",)),
    ("advantage", ("algorithm/adv_estimator", "adv_estimator", "advantage_estimator", "scale_rewards")),
    ("top_entropy", ("top_entropy_quantile",)),
    ("adaptive_entropy", ("use_adaptive_entropy",)),
    ("method", ("method",)),
    ("seed", ("seed",)),
)


def known_settings(config: Mapping[str, Any], tool: str) -> dict[str, Any]:
    """The settings that are known here, as plain values; our own have their names already."""
    if tool == ISOTHERM:
        return dict(config)
    flat = {key.replace(".", "/"): value for key, value in flattened(config)}
    chosen: dict[str, Any] = {}
    for name, endings in SETTINGS:
        for ending in endings:
            keys = [k for k in flat if k == ending or k.endswith("/" + ending)]
            values = [flat[k] for k in sorted(keys, key=len) if isinstance(flat[k], (bool, int, float, str))]
            if values:
                chosen[name] = values[0]
                break
    return chosen
