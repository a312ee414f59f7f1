"""Any other architecture goes through transformers, and means the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import isotherm
from isotherm.policy.batch import Batch
from isotherm.policy.huggingface import HuggingFace
from isotherm.policy.model import load_policy
from isotherm.policy.text import character_tokenizer
from models import logits, rectangle, some_responses

transformers = pytest.importorskip("transformers")

IDS = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None, "initializer_range": 0.3}
GPT2 = {"vocab_size": 99, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256}
GEMMA2 = {
    "vocab_size": 99, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "final_logit_softcapping": 3.0, "sliding_window": 64,
}  # fmt: skip
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15]]
N, T = 2, 5


@pytest.fixture(params=["gpt2", "gemma2"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(request.param, tmp_path)


def write(kind: str, folder: Path) -> Path:
    torch.manual_seed(0)
    config = {"gpt2": lambda: transformers.GPT2Config(**GPT2, **IDS), "gemma2": lambda: gemma2()}[kind]()
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    character_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def gemma2():
    return transformers.Gemma2Config(**GEMMA2, **IDS)


def batch() -> Batch:
    return some_responses(PROMPTS, N, T)


def test_hidden_and_head_give_the_models_logits(folder: Path) -> None:
    """Against a plain forward pass of one response at a time, without padding; Gemma's logits are capped."""
    policy, b = load_policy(str(folder)), batch()
    assert isinstance(policy.module, HuggingFace)
    with torch.no_grad():
        found = logits(policy, rectangle(policy, b))
        for r, response in enumerate(b.responses):
            prompt = PROMPTS[r // N]
            ids = torch.cat((torch.tensor(prompt), response[:-1]))[None]
            plain = policy.module.network(input_ids=ids).logits[0, len(prompt) - 1 :]
            torch.testing.assert_close(found[r], plain, atol=1e-4, rtol=1e-4)


def test_the_cap_is_taken_from_the_config(tmp_path: Path) -> None:
    policy = load_policy(str(write("gemma2", tmp_path)))
    assert policy.model.head.cap == 3.0
    with torch.no_grad():
        assert float(logits(policy, rectangle(policy, batch())).abs().max()) <= 3.0


def test_sampling_states_are_scoring_states(folder: Path) -> None:
    policy, b = load_policy(str(folder)), batch()
    with torch.no_grad():
        truth = rectangle(policy, b)
        frozen = policy.frozen()
        cache, state = frozen.start(b, T)
        rows = torch.arange(len(b.responses))
        for t in range(T):
            torch.testing.assert_close(state, truth[rows, t], atol=1e-4, rtol=1e-4)
            if t == 1:
                rows = torch.tensor([0, 2, 3, 5])
                cache.keep(rows)
            state = frozen.advance(cache, b.responses[rows, t])


def test_training_changes_it_and_the_result_loads_in_transformers(tmp_path: Path) -> None:
    folder = write("gpt2", tmp_path / "model")
    data = tmp_path / "problems.jsonl"
    data.write_text("".join(f'{{"prompt": "{i}+1=", "answer": "{i + 1}"}}\n' for i in range(4)))
    run = isotherm.train(
        model=str(folder), data=str(data), held_out="", out=str(tmp_path / "run"), steps=1, prompts=2, group=4,
        max_new=6, updates=1, signal="keep", method="entropy_bonus(c=1.0)", eval_problems=0, dtype="float32",
        quiet=True,
    )  # fmt: skip
    assert run.metrics["mismatch/max"][-1] < 1e-4
    assert run.checkpoint is not None
    before, after = (
        transformers.AutoModelForCausalLM.from_pretrained(p).state_dict() for p in (folder, run.checkpoint)
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
