"""The decoder computes what transformers computes, whether it scores, samples, or was saved and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from isotherm.policy.batch import Batch
from isotherm.policy.decoder import Decoder
from isotherm.policy.folder import plain_shape, read_config
from isotherm.policy.model import load_policy
from isotherm.policy.pretrain import write_model
from isotherm.policy.text import CHARACTERS, Text, character_tokenizer
from models import full, logits, rectangle, some_responses, tiny_shape

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None,
    "initializer_range": 0.3,
}  # fmt: skip
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
KINDS = {
    "llama": ("LlamaConfig", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama, grouped heads, untied": ("LlamaConfig", {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "llama, biases": ("LlamaConfig", {"num_key_value_heads": 1, "attention_bias": True, "tie_word_embeddings": True}),
    "llama, wide heads, rope": ("LlamaConfig", {"num_key_value_heads": 2, "head_dim": 16, **ROPE}),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen2, untied, rope": ("Qwen2Config", {"num_key_value_heads": 4, "tie_word_embeddings": False, **ROPE}),
}
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15]]
N, T = 2, 5

pytestmark = pytest.mark.usefixtures("functions")


def network(kind: str, folder: Path):
    """A random transformers model with random biases and norms, saved with a character tokenizer."""
    torch.manual_seed(0)
    name, changes = KINDS[kind]
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**SIZES, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    character_tokenizer().save(str(folder / "tokenizer.json"))
    return model.eval()


def batch() -> Batch:
    return some_responses(PROMPTS, N, T)


def expected(model, b: Batch) -> Tensor:
    """Logits that predict each response token, one response at a time, without any padding."""
    rows = []
    for r, response in enumerate(b.responses):
        prompt = PROMPTS[r // N]
        ids = torch.cat((torch.tensor(prompt), response[:-1]))[None]
        rows.append(model(input_ids=ids).logits[0, len(prompt) - 1 :])
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_transformers_computes(kind: str, tmp_path: Path) -> None:
    model, b = network(kind, tmp_path), batch()
    policy = load_policy(str(tmp_path))
    assert isinstance(policy.module, Decoder)
    with torch.no_grad():
        torch.testing.assert_close(logits(policy, rectangle(policy, b)), expected(model, b), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_states_are_scoring_states(kind: str, tmp_path: Path) -> None:
    """Token after token with the cache, and a part of the responses dropped on the way."""
    network(kind, tmp_path)
    policy, b = load_policy(str(tmp_path)), batch()
    with torch.no_grad():
        truth = rectangle(policy, b)
    frozen = policy.frozen()
    cache, state = frozen.start(b, T)
    rows = torch.arange(len(b.responses))
    for t in range(T):
        torch.testing.assert_close(state, truth[rows, t], atol=1e-4, rtol=1e-4)
        if t in (1, 2):
            keep = torch.tensor([0, 2, 3, 5]) if t == 1 else torch.tensor([1, 3])
            cache.keep(keep)
            rows = rows[keep]
        state = frozen.advance(cache, b.responses[rows, t])


def test_a_response_does_not_see_the_others(tmp_path: Path) -> None:
    network("qwen2", tmp_path)
    policy, b = load_policy(str(tmp_path)), batch()
    other = b.responses.clone()
    other[1:] = 7
    with torch.no_grad():
        a, c = rectangle(policy, b), rectangle(policy, full(b.prompts, b.prompt_lengths, other))
    torch.testing.assert_close(a[0], c[0], atol=1e-6, rtol=0)
    assert not torch.allclose(a[1, 1:], c[1, 1:])


def test_the_frozen_twin_has_the_compute_precision_and_leaves_the_weights_alone(tmp_path: Path) -> None:
    network("llama, biases", tmp_path)
    policy, b = load_policy(str(tmp_path), torch.bfloat16), batch()
    twin = policy.frozen()
    assert isinstance(twin, Decoder)
    assert {x.dtype for w in twin.weights() for x in w if x is not None} == {torch.bfloat16}
    assert {p.dtype for p in policy.module.parameters()} == {torch.float32}
    with torch.no_grad():
        first = twin.start(b, T)[1]
        torch.testing.assert_close(first, rectangle(policy, b)[:, 0], atol=0.05, rtol=0.05)
        full = rectangle(load_policy(str(tmp_path)), b)[:, 0]
    assert 1e-5 < float((first - full).abs().max()) < 0.2


def test_gradients_reach_every_parameter(tmp_path: Path) -> None:
    network("llama, biases", tmp_path)
    policy = load_policy(str(tmp_path))
    logits(policy, rectangle(policy, batch())).square().sum().backward()
    without = [n for n, p in policy.parameters().items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_policy_is_a_hugging_face_model(kind: str, tmp_path: Path) -> None:
    network(kind, tmp_path / "model")
    policy, b = load_policy(str(tmp_path / "model")), batch()
    with torch.no_grad():
        for p in policy.parameters().values():
            p.add_(0.01)
    (tmp_path / "saved").mkdir()
    policy.write(tmp_path / "saved")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        torch.testing.assert_close(logits(policy, rectangle(policy, b)), expected(again, b), atol=1e-4, rtol=1e-4)


def test_what_pretraining_writes_is_a_hugging_face_model(tmp_path: Path) -> None:
    write_model(Decoder(tiny_shape()).init(0), Text(character_tokenizer(), (1,)), tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    policy, b = load_policy(str(tmp_path)), batch()
    with torch.no_grad():
        torch.testing.assert_close(logits(policy, rectangle(policy, b)), expected(model, b), atol=1e-4, rtol=1e-4)


def test_transformers_reads_the_tokenizer(tmp_path: Path) -> None:
    write_model(Decoder(tiny_shape()).init(0), Text(character_tokenizer(), (1,)), tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(CHARACTERS)["input_ids"]
    assert ids == load_policy(str(tmp_path)).text.encode(CHARACTERS)
    assert len(ids) == len(CHARACTERS)
    assert tokenizer.decode(ids) == CHARACTERS
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<eos>", "<pad>")


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"use_sliding_window": True},
        {"mlp_bias": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_it_does_not_compute_goes_to_transformers(change: dict, tmp_path: Path) -> None:
    network("llama", tmp_path)
    config = read_config(tmp_path)
    assert plain_shape(config) is not None
    assert plain_shape(config | change) is None


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_responses_of_a_single_token(kind: str, tmp_path: Path) -> None:
    """No response token is fed then; backward works too."""
    network(kind, tmp_path)
    policy, b = load_policy(str(tmp_path)), batch()
    short = rectangle(policy, full(b.prompts, b.prompt_lengths, b.responses[:, :1]))
    torch.testing.assert_close(short, rectangle(policy, b)[:, :1], atol=1e-5, rtol=1e-5)
    short.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in policy.parameters().values() if p.grad is not None)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_padding_is_left_out_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    network(kind, tmp_path)
    policy, b = load_policy(str(tmp_path)), batch()
    lengths = torch.arange(len(b.responses)) % T + 1
    ragged = Batch(b.prompts, b.prompt_lengths, b.responses, lengths)
    whole = rectangle(policy, b)[torch.arange(T) < lengths[:, None]]
    packed = policy.model.hidden(ragged)
    torch.testing.assert_close(packed, whole, atol=1e-5, rtol=1e-5)
    fed = sum(map(len, PROMPTS)) + int((lengths - 1).sum())
    assert len(ragged.packing().ids) == fed + -fed % 64
