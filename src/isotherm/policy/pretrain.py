"""Makes the built-in model from nothing: next-character training on demonstrations by an indifferent teacher.

Reinforcement learning shows what it does to entropy only from a base that sometimes succeeds and still has choices, so
the teacher solves a problem with probability `skill` and otherwise makes well-formed moves at random.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm.errors import UserError
from isotherm.files import full_disk, remove, write_whole
from isotherm.policy.batch import Batch, pad_prompts
from isotherm.policy.decoder import Decoder, Shape
from isotherm.policy.folder import CARRIED, weights_of
from isotherm.policy.model import KNOWS_RULES
from isotherm.policy.text import EOS, PAD, UNKNOWN, Text, character_tokenizer
from isotherm.tasks import FAMILIES
from isotherm.tasks.problems import problem
from isotherm.tokens.score import score
from isotherm.tokens.stream import flatten


class Lesson(NamedTuple):
    """What the teacher shows of one family."""

    skill: float  # probability that it solves
    examples: int  # per step


LESSONS = {
    "countdown": Lesson(0.9, 48),
    "chain": Lesson(0.5, 96),
    "subset": Lesson(0.9, 64),
    "fill": Lesson(0.35, 48),
    "ladder": Lesson(0.35, 48),
    "route": Lesson(0.35, 48),
}


@dataclass(frozen=True)
class Recipe:
    """What makes the built-in model."""

    steps: int = 2000
    families: tuple[str, ...] = tuple(FAMILIES)
    levels: tuple[int, ...] = (1, 2, 3)  # take turns
    lr: float = 2e-3
    warmup: int = 100
    seed: int = 0
    width: int = 128
    layers: int = 3
    heads: int = 4
    mlp: int = 352


RECIPE = Recipe()
WEIGHTS = "model.safetensors"


def demonstration(family: str, level: int, seed: int, index: int, skill: float) -> tuple[str, str]:
    """A prompt and the teacher's answer to it."""
    asked = problem(family, level, seed, index, "train")
    draw = random.Random(f"teacher {family} {level} {seed} {index}")
    teach = FAMILIES[family].solve if draw.random() < skill else FAMILIES[family].attempt
    return asked.prompt, teach(asked.data, draw)


def family_batch(recipe: Recipe, text: Text, family: str, step: int) -> Batch:
    """Prompts of one level with one answer each; the levels take turns."""
    lesson, level = LESSONS[family], recipe.levels[step % len(recipe.levels)]
    first = step * lesson.examples
    pairs = [demonstration(family, level, recipe.seed, first + i, lesson.skill) for i in range(lesson.examples)]
    prompts, lengths = pad_prompts([text.encode(prompt) for prompt, _ in pairs])
    answers = [[*text.encode(answer), text.ends[0]] for _, answer in pairs]
    sizes = torch.tensor([len(a) for a in answers])
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(a) for a in answers], batch_first=True)
    return Batch(prompts, lengths, padded, sizes)


def batch_loss(decoder: Decoder, batch: Batch, total: int) -> Tensor:
    """Cross-entropy of the answers, summed and divided by the number of tokens of the step."""
    target = flatten(batch.responses, batch.lengths)
    return -score(decoder.hidden(batch), decoder.head.weight, target).logprob.sum() / total


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    done = step / recipe.steps
    return recipe.lr * min(1.0, (step + 1) / recipe.warmup) * (0.55 + 0.45 * math.cos(math.pi * done))


def pretrain(recipe: Recipe, out: Path, compute: torch.dtype, say: Callable[[int, float, float], None]) -> Decoder:
    """Trains the decoder and writes it to `out` in Hugging Face format."""
    text = Text(character_tokenizer(), (1,))
    shape = Shape(
        vocab=text.tokenizer.get_vocab_size(), width=recipe.width, layers=recipe.layers, heads=recipe.heads,
        kv_heads=recipe.heads, head_width=recipe.width // recipe.heads, mlp=recipe.mlp, rope_theta=10_000.0,
        norm_eps=1e-6, bias=False, tied=True,
    )  # fmt: skip
    decoder = Decoder(shape, compute).init(recipe.seed)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.05)
    started = time.monotonic()
    for step in range(recipe.steps):
        batches = [family_batch(recipe, text, family, step) for family in recipe.families]
        total = int(sum(batch.lengths.sum() for batch in batches))
        optimizer.param_groups[0]["lr"] = learning_rate(recipe, step)
        loss = 0.0
        for batch in batches:
            part = batch_loss(decoder, batch, total)
            part.backward()
            loss += float(part.detach())
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        say(step + 1, loss, time.monotonic() - started)
    write_model(decoder, text, out)
    return decoder


def write_model(decoder: Decoder, text: Text, out: Path) -> None:
    """config.json, generation_config.json, tokenizer.json, tokenizer_config.json, model.safetensors."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    save_file(weights_of(decoder), out / WEIGHTS, metadata={"format": "pt"})
    s = decoder.shape
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": s.vocab, "hidden_size": s.width,
        "intermediate_size": s.mlp, "num_hidden_layers": s.layers, "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads, "head_dim": s.head_width, "hidden_act": "silu", "rms_norm_eps": s.norm_eps,
        "max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default", "rope_theta": s.rope_theta},
        "rope_theta": s.rope_theta, "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
        "dtype": "float32", KNOWS_RULES: True, **ids,
    }  # fmt: skip
    names = {"pad_token": PAD, "eos_token": EOS, "unk_token": UNKNOWN}
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
    }
    for name, content in (("config", config), ("generation_config", ids), ("tokenizer_config", tokenizer | names)):
        (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    text.tokenizer.save(str(out / "tokenizer.json"))


def claim(out: Path) -> None:
    """Makes the folder and tries to write in it: hours later would be too late."""
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UserError(f"{out} exists and is not empty; name a new folder for the model.")
    try:
        with full_disk(out):
            out.mkdir(parents=True, exist_ok=True)
            write_whole(out / "trial", b"\0")
            remove(out / "trial")
    except OSError as error:
        raise UserError(f"The folder {out} cannot be written to: {error.strerror}.") from None


def make(out: Path, *, seed: int = 0, steps: int = 0, dtype: str = "bfloat16") -> None:
    """`isotherm pretrain`: one thread and a fixed precision, so that a seed gives the same weights again."""
    recipe = replace(RECIPE, seed=seed, steps=steps or RECIPE.steps)
    claim(out)
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")

    def say(step: int, loss: float, seconds: float) -> None:
        if step % max(1, recipe.steps // 40) == 0 or step == recipe.steps:
            left = seconds / step * (recipe.steps - step)
            print(f"step {step}/{recipe.steps}  loss {loss:.3f}  {left:.0f} s left", flush=True)

    try:
        with full_disk(out):
            pretrain(recipe, out, getattr(torch, dtype), say)
    except BaseException:
        for name in (*CARRIED, WEIGHTS):
            remove(out / name)
        raise
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(matmul)
    print(f"Model: {out}")
