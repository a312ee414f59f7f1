"""verl's `ppo_loss`, with its registered policy losses, beside Isotherm's; runs in the environment of `agree.py`."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo import core_algos
from verl.utils import tensordict_utils
from verl.utils.torch_functional import entropy_from_logits, logprobs_from_logits
from verl.workers.config import ActorConfig, PolicyLossConfig
from verl.workers.utils.losses import ppo_loss

from agree_batches import BATCHES, SMALL, Batch, Check, Errors, draw, each, numbered, ours, slopes, write
from agree_model import PROMPT, flat_gradient, our_gradient, rescored, small_model, written
from agree_selection import aligned
from isotherm.advantages.responses import estimate
from isotherm.objective.compose import method
from isotherm.tokens.stream import flatten

TOKEN, SEQUENCE, NORM = "token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm"
OFF = 1e30  # a dual clip that never acts; verl wants one above 1
PLAIN = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2, "clip_ratio_c": OFF}
HIGHER = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28, "clip_ratio_c": OFF}
BONUS = " + entropy_bonus(c=0.01)"  # every batch has verl's entropy_coeff, so that H has a slope


def mode(name: str, **more: Any) -> dict[str, Any]:
    return {"loss_mode": name, **more}


LOSSES = (
    Check("vanilla", (
        (PLAIN, "ppo_clip"),
        (HIGHER, "clip_higher"),
        (HIGHER | {"loss_agg_mode": SEQUENCE}, "clip_higher + sequence_mean"),
        (PLAIN | {"loss_agg_mode": NORM, "loss_scale_factor": 64}, "dr_grpo(length=64)"),
        (PLAIN | {"loss_agg_mode": "seq-mean-token-sum"}, "dr_grpo(length=1)"),
        ({"clip_ratio_low": 1.0, "clip_ratio_high": OFF, "clip_ratio_c": OFF}, "no_clip"),
    ), far=True),
    Check("dual-clip", (
        ({}, "ppo_clip(dual=3.0)"),
        ({"clip_ratio_c": 1.5, "clip_ratio_high": 0.28}, "clip_higher(dual=1.5)"),
    ), far=True),
    Check("gspo", (
        (mode("gspo", clip_ratio_low=3e-4, clip_ratio_high=4e-4, loss_agg_mode=SEQUENCE), "gspo"),
        (mode("gspo", clip_ratio_low=0.2, clip_ratio_high=0.28, loss_agg_mode=SEQUENCE), "gspo(low=0.2, high=0.28)"),
        (mode("gspo", clip_ratio_low=1.0, clip_ratio_high=1e9, loss_agg_mode=SEQUENCE), "gspo(low=1, high=1e9)"),
    ), value="sum"),
    Check("sapo", (
        (mode("sapo", loss_agg_mode=SEQUENCE), "sapo + sequence_mean"),
        (mode("sapo", loss_agg_mode=SEQUENCE, tau_pos=0.5, tau_neg=3.0), "sapo(pos=0.5, neg=3) + sequence_mean"),
    ), far=True),
    Check("cispo", (
        (mode("cispo"), "cispo(low=0.2, high=0.2)"),
        (mode("cispo", clip_ratio_low=1.0, clip_ratio_high=4.0), "cispo"),
        (mode("cispo", clip_ratio_low=0.1, clip_ratio_high=0.28, loss_agg_mode=SEQUENCE),
         "cispo(low=0.1, high=0.28) + sequence_mean"),
    ), value="slopes", far=True),
    Check("clip_cov", (
        (mode("clip_cov", clip_cov_ratio=0.1), "clip_cov(ratio=0.1, clip_low=0.2, clip_high=0.2)"),
        (mode("clip_cov", clip_cov_ratio=0.05, clip_ratio_low=1.0, clip_ratio_high=1.0, clip_cov_lb=0.2),
         "clip_cov(ratio=0.05, low=0.2)"),
        (mode("clip_cov", clip_ratio_low=1.0, clip_ratio_high=1.0), "clip_cov"),
    )),
    Check("kl_cov", (
        (mode("kl_cov"), "kl_cov(k=2e-4, beta=0.1, rounding=0)"),
        (mode("kl_cov", kl_cov_ratio=0.2, ppo_kl_coef=1.0), "kl_cov(k=0.2, rounding=0)"),
        (mode("kl_cov", kl_cov_ratio=2e-3, ppo_kl_coef=1.0), "kl_cov(rounding=0)"),
    )),
    Check("gpg", ((mode("gpg"), "gpg"),), far=True),
    Check("kl_loss", (
        (PLAIN | {"use_kl_loss": True, "kl_loss_coef": 0.5}, "reference_kl(c=0.5, most=10)"),
        (PLAIN | {"use_kl_loss": True, "kl_loss_coef": 0.5, "kl_loss_type": "k2"}, "reference_kl(c=0.5, estimator=k2)"),
        (PLAIN | {"use_kl_loss": True, "kl_loss_coef": 0.5, "kl_loss_type": "kl"}, "reference_kl(c=0.5, estimator=k1)"),
    )),
)  # fmt: skip
ADVANTAGES = (
    Check("advantage grpo", (({"estimator": "grpo"}, "grpo"),)),
    Check("advantage grpo without std", (({"estimator": "grpo", "norm_adv_by_std_in_grpo": False}, "dr_grpo"),)),
    Check("advantage rloo", (({"estimator": "rloo"}, "rloo"),)),
    Check("advantage opo", (({"estimator": "opo"}, "opo"),)),
)


def actor(options: dict[str, Any]) -> ActorConfig:
    own = {"loss_mode", "clip_cov_ratio", "clip_cov_lb", "clip_cov_ub", "kl_cov_ratio", "ppo_kl_coef"} & options.keys()
    rest = {name: given for name, given in options.items() if name not in own}
    policy_loss = PolicyLossConfig(**{name: options[name] for name in own})
    return ActorConfig(
        strategy="fsdp", rollout_n=4, ppo_micro_batch_size_per_gpu=64, entropy_coeff=0.01, policy_loss=policy_loss,
        global_batch_info={}, **rest,
    )  # fmt: skip


def batch_of(batch: Batch) -> TensorDict:
    """What verl's worker hands to `ppo_loss`, the whole batch as one micro-batch."""
    text = written(batch)
    data = TensorDict(
        {
            "prompts": text.prompts,
            "responses": text.responses,
            "attention_mask": text.seen,
            "response_mask": batch.mask.long(),
            "old_log_probs": batch.old,
            "ref_log_prob": batch.reference,
            "advantages": batch.advantage[:, None] * batch.mask,
        },
        batch_size=len(batch.length),
    )
    tensordict_utils.assign_non_tensor(
        data, dp_size=1, batch_num_tokens=batch.tokens, global_batch_size=len(batch.length)
    )
    return data


def packed(batch: Batch, values: Tensor) -> Tensor:
    """[tokens] as verl's engine has them: prompts and responses without padding, each one position early."""
    parts = values.split(batch.length.tolist())
    before, after = values.new_zeros(PROMPT - 1), values.new_zeros(1)
    return torch.cat([piece for part in parts for piece in (before, part, after)])


def peer_loss(batch: Batch, options: dict[str, Any], logprob: Tensor, entropy: Tensor) -> Tensor:
    output = {"log_probs": packed(batch, logprob), "entropy": packed(batch, entropy)}
    return ppo_loss(actor(options), output, batch_of(batch))[0]


def compare(check: Check, batches: int, small: int) -> Errors:
    errors, model = Errors(), small_model()
    for seed, options, expression in numbered(check, batches):
        batch = draw(seed, far=check.far)
        leaves = [flatten(x, batch.length).requires_grad_() for x in (batch.logprob, batch.entropy)]
        total = aligned(check, batch, expression, errors, functools.partial(peer_loss, batch, options, *leaves))
        errors.add(batch, slopes(total, *leaves), ours(batch, method(expression + BONUS)), check.value)
    for seed, options, expression in numbered(check, small):
        batch = rescored(draw(seed, drift=0.3), model)
        run = functools.partial(peer_gradient, model, batch, options)
        errors.add_small(
            aligned(check, batch, expression, errors, run), our_gradient(model, batch, method(expression + BONUS))
        )
    return errors


def peer_gradient(model: Any, batch: Batch, options: dict[str, Any]) -> Tensor:
    """Through the whole logits, by verl's own log-probabilities and entropies."""
    text = written(batch)
    logits = model(input_ids=text.ids, attention_mask=text.seen).logits[:, PROMPT - 1 : -1]
    logprob, entropy = logprobs_from_logits(logits, text.responses), entropy_from_logits(logits)
    return flat_gradient(model, peer_loss(batch, options, logprob[batch.mask], entropy[batch.mask]))


def compare_advantages(check: Check, batches: int) -> Errors:
    errors = Errors()
    for seed, options, expression in numbered(check, batches):
        batch, given = draw(seed), dict(options)
        estimator = core_algos.get_adv_estimator_fn(given.pop("estimator"))
        reward = batch.advantage.round(decimals=1)
        at_end = torch.zeros_like(batch.logprob)
        at_end[torch.arange(len(reward)), batch.length - 1] = reward
        theirs, _ = estimator(at_end, batch.mask.long(), batch.group.numpy().astype(np.int64), **given)
        mine = estimate(method(expression).advantage, reward, batch.group, length=batch.length)
        errors.add_advantage(theirs[:, 0], mine)
    return errors


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--small", type=int, default=SMALL)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    rows = each(LOSSES, lambda check: compare(check, a.batches, a.small))
    rows += each(ADVANTAGES, lambda check: compare_advantages(check, a.batches))
    write(a.out, ("verl", "torch", "tensordict", "transformers"), rows)


if __name__ == "__main__":
    main()
