"""TRL's `GRPOTrainer._compute_loss` beside Isotherm's loss; runs in the environment of `agree.py`."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from agree_batches import BATCHES, SMALL, Batch, Check, Errors, Slopes, draw, each, numbered, ours, slopes, write
from agree_model import flat_gradient, our_gradient, rescored, small_model, written
from isotherm.advantages.responses import estimate
from isotherm.objective.compose import method
from isotherm.objective.method import Measured, Method
from isotherm.tokens.stream import flatten

LENGTH = 64  # max_completion_length, the constant of dr_grpo


def kind(name: str, **more: Any) -> dict[str, Any]:
    return {"loss_type": name, **more}


SAPO = {"sapo_temperature_pos": 0.5, "sapo_temperature_neg": 3.0}
QUANTILE = "forking_tokens(edge=quantile"
ADAPTIVE = {"use_adaptive_entropy": True, "entropy_target": 1.0}
CHECKS = (
    Check("grpo", (
        (kind("grpo"), "grpo + sequence_mean"),
        (kind("grpo", epsilon_high=0.28), "clip_higher + sequence_mean"),
        (kind("grpo", entropy_coef=0.01), "sequence_mean + entropy_bonus(c=0.01, mean=tokens)"),
        (kind("grpo", beta=0.1), "sequence_mean + reference_kl(c=0.1, weight=ratio)"),
        (kind("grpo", beta=0.1, use_bias_correction_kl=False), "sequence_mean + reference_kl(c=0.1)"),
    )),
    Check("dapo", (
        (kind("dapo"), "grpo"),
        (kind("dapo", epsilon=0.1, epsilon_high=0.28), "clip_higher(low=0.1)"),
        (kind("dapo", entropy_coef=0.01), "grpo + entropy_bonus(c=0.01)"),
        (kind("dapo", delta=2.5), "ppo_clip(dual=2.5)"),
        (kind("dapo", epsilon=1.0, epsilon_high=1e30), "no_clip"),
        (kind("bnpo", entropy_coef=0.01), "grpo + entropy_bonus(c=0.01)"),
    )),
    Check("dr_grpo", (
        (kind("dr_grpo"), f"dr_grpo(length={LENGTH})"),
        (kind("dr_grpo", entropy_coef=0.01), f"dr_grpo(length={LENGTH}) + entropy_bonus(c=0.01, mean=tokens)"),
    )),
    Check("cispo", (
        (kind("cispo", epsilon_high=5.0), "cispo(high=4.0)"),
        (kind("cispo", epsilon_high=1.2, entropy_coef=0.01), "cispo(high=0.2) + entropy_bonus(c=0.01)"),
    ), value="slopes", far=True),
    Check("sapo", (
        (kind("sapo", sapo_temperature_neg=1.0625), "sapo(neg=1.0625) + sequence_mean"),
        (kind("sapo", **SAPO), "sapo(pos=0.5, neg=3.0) + sequence_mean"),
    )),
    Check("sequence-level ratio", (
        (kind("grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4), "gspo"),
        (kind("grpo", importance_sampling_level="sequence", epsilon_high=0.28), "gspo(low=0.2, high=0.28)"),
        (kind("grpo", importance_sampling_level="sequence", epsilon=1.0, epsilon_high=1e9), "gspo(low=1, high=1e9)"),
    ), value="sum"),
    Check("high-entropy mask", (
        (kind("dapo", top_entropy_quantile=0.2), f"{QUANTILE})"),
        (kind("dapo", top_entropy_quantile=0.5, epsilon_high=0.28), f"clip_higher + {QUANTILE}, rho=0.5)"),
        (kind("grpo", top_entropy_quantile=0.3, beta=0.1),
         f"sequence_mean + {QUANTILE}, rho=0.3) + reference_kl(c=0.1, weight=ratio)"),
    )),
    Check("adaptive entropy", (
        (kind("dapo", **ADAPTIVE, entropy_coef_max=0.03), "adaptive_bonus(target=1.0, delta=0.005, most=0.03)"),
        (kind("dapo", **ADAPTIVE, entropy_coef=0.01, entropy_coef_delta=0.002, entropy_coef_min=0.004),
         "adaptive_bonus(target=1.0, delta=0.002, start=0.01, least=0.004, most=1)"),
        (kind("grpo", **ADAPTIVE), "sequence_mean + adaptive_bonus(target=1.0, delta=0.005, most=1, mean=tokens)"),
    )),
)  # fmt: skip
ADVANTAGES = (
    Check("advantage grpo", ((kind("dapo"), "grpo(floor=1e-4)"),)),
    Check("advantage grpo without std", ((kind("dapo", scale_rewards="none"), "dr_grpo"),)),
)


def tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(48)}
    backend = Tokenizer(models.WordLevel(words, "w3"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="w0", eos_token="w2")


def trainer(folder: Path, options: dict[str, Any], seen: dict[str, GRPOTrainer]) -> GRPOTrainer:
    """One real trainer for each setting, in the state of a training step with one micro-batch."""
    name = json.dumps(options, sort_keys=True)
    if name not in seen:
        settings = GRPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none",
            per_device_train_batch_size=4, num_generations=4, max_completion_length=LENGTH, disable_tqdm=True,
            temperature=1.0, **options,
        )  # fmt: skip
        model = small_model()
        model.save_pretrained(folder / "model")  # with beta, TRL loads a reference, which is not asked here
        model.config.name_or_path = str(folder / "model")
        made = GRPOTrainer(
            model=model, processing_class=tokenizer(), reward_funcs=lambda **_: [0.0], args=settings,
            train_dataset=Dataset.from_dict({"prompt": ["w5 w6 w7"]}),
        )  # fmt: skip
        made.model.train()
        made.current_gradient_accumulation_steps = 1
        seen[name] = made
    return seen[name]


def inputs(batch: Batch) -> dict[str, Tensor]:
    """What `_generate_and_score_completions` hands on, the whole batch as one micro-batch."""
    text = written(batch)
    return {
        "prompt_ids": text.prompts,
        "prompt_mask": torch.ones_like(text.prompts),
        "completion_ids": text.responses,
        "completion_mask": batch.mask.long(),
        "advantages": batch.advantage,
        "num_items_in_batch": batch.mask.sum(),
        "old_per_token_logps": batch.old,
        "ref_per_token_logps": batch.reference,
    }


def peer(made: GRPOTrainer, batch: Batch) -> Slopes:
    """The loss with leaves in the place of the model's log-probs and entropies, padding included."""
    leaves = [x.clone().requires_grad_() for x in (batch.logprob, batch.entropy)]
    made._get_per_token_logps_and_entropies = lambda *_, **__: (*leaves, None)
    try:
        found = slopes(made._compute_loss(made.model, inputs(batch)), *leaves)
    finally:
        del made._get_per_token_logps_and_entropies
    return Slopes(found.loss, flatten(found.logprob, batch.length), flatten(found.entropy, batch.length))


class Controlled:
    """An expression with the state of its control, which moves after every batch as it does after every step."""

    def __init__(self, expression: str) -> None:
        self.method = method(expression)
        self.control = next(iter(self.method.controls), None)
        self.state = self.control.init() if self.control else {}

    @property
    def now(self) -> Method:
        return self.method.with_knob(self.control.knob, self.state["value"]) if self.control else self.method

    def step(self, batch: Batch) -> None:
        if self.control:
            entropy = float(flatten(batch.entropy, batch.length).mean())
            self.state = self.control.update(self.state, Measured(1, 1, entropy))


def compare(check: Check, batches: int, small: int, folder: Path) -> Errors:
    errors, seen, controlled, applied = Errors(), {}, {}, 0
    for seed, options, expression in numbered(check, batches):
        batch, made = draw(seed, far=check.far), trainer(folder, options, seen)
        mine = controlled.setdefault(expression, Controlled(expression))
        errors.add(batch, peer(made, batch), ours(batch, mine.now), check.value)
        applied += bool(mine.state.get("value"))
        mine.step(batch)
    if applied:
        errors.notes["steps with the bonus in force"] = applied
    for seed, options, expression in numbered(check, small):
        made = trainer(folder, options, seen)
        batch, mine = rescored(draw(seed, drift=0.3), made.model), controlled[expression]
        theirs = flat_gradient(made.model, made._compute_loss(made.model, inputs(batch)))
        errors.add_small(theirs, our_gradient(made.model, batch, mine.now))
        mine.step(batch)
    return errors


def compare_advantages(check: Check, batches: int, folder: Path) -> Errors:
    """Through the method that scores a rollout, with its generation and its reward functions replaced."""
    errors, seen = Errors(), {}
    for seed, options, expression in numbered(check, batches):
        made, g = trainer(folder, options, seen), torch.Generator().manual_seed(seed)
        group = torch.arange(3).repeat_interleave(made.num_generations)
        reward = torch.randn(len(group), generator=g, dtype=torch.float64).round(decimals=1)
        texts = [[5, 6, 2]] * len(group)
        made._generate = lambda _, t=texts: (t, t, None, ["w5"] * len(t), None, {}, None, None)
        made._calculate_rewards = lambda *_, r=reward: r[:, None]
        theirs = made._generate_and_score_completions([{"prompt": "w5 w6 w2"}] * len(group))["advantages"]
        errors.add_advantage(theirs, estimate(method(expression).advantage, reward, group))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--small", type=int, default=SMALL)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = each(CHECKS, lambda check: compare(check, a.batches, a.small, Path(folder)))
        rows += each(ADVANTAGES, lambda check: compare_advantages(check, a.batches, Path(folder)))
    write(a.out, ("trl", "torch", "transformers", "accelerate"), rows)


if __name__ == "__main__":
    main()
