"""Small models for tests."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from isotherm.policy.batch import Batch, pad_prompts
from isotherm.policy.decoder import Decoder, Shape
from isotherm.policy.model import Policy, load_policy
from isotherm.policy.pretrain import write_model
from isotherm.policy.text import Text, character_tokenizer


def tiny_shape(**changes) -> Shape:
    sizes = {"vocab": 99, "width": 16, "layers": 2, "heads": 2, "kv_heads": 2, "head_width": 8, "mlp": 24}
    rest = {"rope_theta": 10_000.0, "norm_eps": 1e-6, "bias": False, "tied": True}
    return Shape(**{**sizes, **rest, **changes})


def tiny_model(folder: Path, seed: int = 0, scale: float = 10.0) -> Path:
    """An untrained model with logits spread enough that its answers differ; at level 1 it is never right."""
    decoder = Decoder(tiny_shape()).init(seed)
    with torch.no_grad():
        decoder.embed.mul_(scale)
    out = folder / "tiny"
    write_model(decoder, Text(character_tokenizer(), (1,)), out)
    return out


def tiny_policy(folder: Path, dtype: torch.dtype = torch.float32, **options) -> Policy:
    policy = load_policy(str(tiny_model(folder, **options)))
    policy.module.to(dtype)
    return policy


def rectangle(policy: Policy, batch: Batch) -> Tensor:
    """The states of a batch without padding as [responses, T, width]."""
    return policy.model.hidden(batch).unflatten(0, batch.responses.shape)


def full(prompts: Tensor, lengths: Tensor, responses: Tensor) -> Batch:
    """A batch whose responses all have the width of their rectangle."""
    return Batch(prompts, lengths, responses, torch.full((len(responses),), responses.shape[1]))


def some_responses(prompts: list[list[int]], n: int, width: int) -> Batch:
    """n full responses to each prompt, of letters drawn once and for all."""
    ids, lengths = pad_prompts(prompts)
    return full(
        ids, lengths, torch.randint(3, 99, (len(prompts) * n, width), generator=torch.Generator().manual_seed(1))
    )


def logits(policy: Policy, hidden: Tensor) -> Tensor:
    head = policy.model.head
    plain = torch.nn.functional.linear(hidden, head.weight, head.bias)
    return plain if head.cap is None else head.cap * torch.tanh(plain / head.cap)
