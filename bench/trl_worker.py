"""TRL's GRPOTrainer, one step at a time; runs in the environment that `trl_compare.py` makes for it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from stepping import Link, Meter, reward_of

LINK = Link()  # before the imports below, which may print: it takes stdout for itself

import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402


class Stepper(TrainerCallback):
    """From one beginning of a step to the next, so that data loading and the trainer's own bookkeeping count."""

    def __init__(self, signal: float) -> None:
        self.meter, self.lengths, self.signal = Meter(), [], signal
        self.started: tuple[float, float] | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.started is not None:
            wall, cpu = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
            self.meter.parts["step"] = (wall, cpu)
            LINK.tell(parts=self.meter.step_parts(), lengths=self.lengths)
        LINK.wait()
        self.meter.parts.clear()
        self.started = time.perf_counter(), time.process_time()

    def reward(
        self, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any
    ) -> list[float]:
        self.lengths = sorted({len(ids) for ids in completion_ids})
        return [reward_of(prompt, text, self.signal) for prompt, text in zip(prompts, completions, strict=True)]


def settings(a: argparse.Namespace) -> GRPOConfig:
    """The same work as ours, and nothing that only slows TRL down: no checkpointing of activations, no logging."""
    return GRPOConfig(
        output_dir=str(a.model / "trl"), use_cpu=True, bf16=a.dtype == "bfloat16", gradient_checkpointing=False,
        per_device_train_batch_size=a.prompts * a.group, num_generations=a.group, gradient_accumulation_steps=1,
        steps_per_generation=1, num_iterations=1, max_completion_length=a.new, temperature=1.0, top_p=1.0, top_k=0,
        beta=0.0, epsilon=0.2, learning_rate=a.lr, lr_scheduler_type="constant", max_grad_norm=1.0, max_steps=10**6,
        shuffle_dataset=False, logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True, seed=0,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--matmul", default="highest")
    parser.add_argument("--signal", type=float)
    parser.add_argument("--lr", type=float)
    for name in ("prompts", "group", "new"):
        parser.add_argument(f"--{name}", type=int)
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision(a.matmul)
    network = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32, attn_implementation=a.attention)
    lines = (a.model / "prompts.txt").read_text().splitlines()
    stepper = Stepper(a.signal)
    trainer = GRPOTrainer(
        model=network,
        processing_class=AutoTokenizer.from_pretrained(a.model),
        reward_funcs=stepper.reward,
        args=settings(a),
        train_dataset=Dataset.from_dict({"prompt": lines}),
        callbacks=[stepper],
    )
    generate = trainer._generate_and_score_completions

    def metered(inputs: Any) -> Any:
        with stepper.meter("sample"):
            return generate(inputs)

    trainer._generate_and_score_completions = metered
    versions = {"torch": torch.__version__, "trl": trl.__version__, "transformers": transformers.__version__}
    LINK.tell(parameters=sum(p.numel() for p in network.parameters()), matmul=a.matmul, versions=versions)
    trainer.train()


if __name__ == "__main__":
    main()
