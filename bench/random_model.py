"""A random model in Hugging Face format that never ends a response, and prompts of one length."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

SIZES = {"0.14M": (64, 2), "0.5M": (128, 2), "1M": (128, 4), "4M": (256, 4), "31M": (512, 8)}  # width, layers


def make_model(folder: Path, width: int, layers: int, words: int = 0) -> None:
    """A Qwen2 with tied embeddings over 99 characters, or over more words, which only fill the head.

    Its end token has no row in the head: it is never drawn.
    """
    from isotherm.policy.decoder import Decoder, Shape
    from isotherm.policy.pretrain import write_model
    from isotherm.policy.text import Text, character_tokenizer

    tokenizer = character_tokenizer()
    heads, vocab = width // 32, tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"<word {i}>" for i in range(vocab, words)] + ["<end>"])
    vocab = max(vocab, words)
    shape = Shape(
        vocab=vocab, width=width, layers=layers, heads=heads, kv_heads=heads // 2, head_width=32, mlp=4 * width,
        rope_theta=10_000.0, norm_eps=1e-6, bias=True, tied=True,
    )  # fmt: skip
    write_model(Decoder(shape).init(0), Text(tokenizer, (vocab,)), folder)
    qwen = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False}
    edit(folder / "config.json", {**qwen, "eos_token_id": vocab})
    edit(folder / "generation_config.json", {"eos_token_id": vocab})
    edit(folder / "tokenizer_config.json", {"eos_token": "<end>"})


def make_prompts(folder: Path, length: int) -> None:
    """A number of four digits, then letters."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = [f"{i:04}" + "".join(draw.choices(letters, k=length - 4)) for i in range(1024)]
    (folder / "prompts.txt").write_text("\n".join(lines) + "\n")


def edit(path: Path, changes: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")
