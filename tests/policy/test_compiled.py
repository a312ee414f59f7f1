"""The compiled functions against the plain ones: values, gradients, decoding, and whole trajectories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from isotherm import native
from isotherm.policy import batch as batches
from isotherm.policy.batch import Batch
from isotherm.policy.compiled_hidden import Run, chunk_of
from isotherm.policy.decoder import Decoder
from models import tiny_shape

pytestmark = pytest.mark.skipif(not native.on(), reason=native.reason())

SHAPES = {
    "small": {},
    "grouped heads, biases": {
        "width": 48, "heads": 4, "kv_heads": 2, "head_width": 32, "mlp": 88, "layers": 3, "bias": True,
        "attention_bias": True,
    },
    "sizes that are no multiple of sixteen, untied": {
        "width": 40, "heads": 3, "kv_heads": 1, "head_width": 20, "mlp": 50, "tied": False,
    },
    "wide, seven heads that share keys": {
        "width": 264, "heads": 7, "kv_heads": 1, "head_width": 40, "mlp": 290, "layers": 1,
    },
    "wide heads": {"width": 48, "heads": 5, "kv_heads": 1, "head_width": 72},
}  # fmt: skip
PROMPT_LENGTHS = torch.tensor([21, 3, 17, 1, 16])
N = 3


def decoder(shape: str, compute: torch.dtype) -> Decoder:
    model = Decoder(tiny_shape(**SHAPES[shape]), compute).init(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 2:
                p.mul_(3)
            elif "norm" in name:
                p.uniform_(0.5, 1.5, generator=generator)
            else:
                p.normal_(generator=generator)
    return model


def prompts() -> Tensor:
    return torch.randint(0, 99, (5, 21), generator=torch.Generator().manual_seed(1))


def scored() -> Batch:
    """Responses of all lengths, among them some that are a single token."""
    responses = torch.randint(0, 99, (5 * N, 19), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([19, 1, 2, 7, 9, 1, 12, 14, 3, 3, 8, 15, 19, 1, 1])
    return Batch(prompts(), PROMPT_LENGTHS, responses, lengths)


def apart(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def pulled(model: Decoder, compiled: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """The states of a batch, and the gradient of a sum of them with uneven weights."""
    model.zero_grad()
    with native.using(compiled):
        states = model.hidden(scored())
        (states * torch.linspace(-1, 9, states.numel(), dtype=states.dtype).view_as(states).sin()).sum().backward()
    return states.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def doubled(model: Decoder) -> Decoder:
    twin = Decoder(model.shape)
    twin.load_state_dict(model.state_dict())
    return twin.double()


@pytest.fixture(params=[2, 1, 0], ids=["tiles", "dot products", "neither"])
def processor(request: pytest.FixtureRequest) -> Iterator[int]:
    """What the processor has for bfloat16, at most."""
    level = native.call("limit_bfloat", request.param)
    if level < request.param:
        native.call("limit_bfloat", -1)
        pytest.skip("this processor does not have it")
    yield level
    native.call("limit_bfloat", -1)


@pytest.mark.parametrize("tokens", [8192, 30], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_states_and_gradients_against_float64(shape: str, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TOKENS", tokens)
    model = decoder(shape, torch.float32)
    states, gradient = pulled(model, compiled=True)
    true_states, true_gradient = pulled(doubled(model), compiled=False)
    assert apart(states, true_states) < 1e-6
    assert gradient.keys() == true_gradient.keys() == dict(model.named_parameters()).keys() - {"lm_head"}
    biggest = max(float(g.norm()) for g in true_gradient.values())
    for name, true in true_gradient.items():
        assert float((gradient[name].double() - true).norm()) < 1e-6 * max(biggest, float(true.norm())), name


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_is_no_further_from_the_truth_than_the_plain_functions(shape: str, processor: int) -> None:
    model = decoder(shape, torch.bfloat16)
    truth = pulled(doubled(model), compiled=False)
    found = [pulled(model, compiled) for compiled in (True, False)]
    states = [apart(states, truth[0]) for states, _ in found]
    assert states[0] < max(1.5 * states[1], 2e-3)
    flat = [torch.cat([g[name].flatten() for name in truth[1]]) for _, g in (*found, truth)]
    errors = [apart(g, flat[2]) for g in flat[:2]]
    assert errors[0] < 1.5 * errors[1]
    assert errors[0] < 0.02


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=str)
def test_attention_whatever_the_number_of_threads(compute: torch.dtype) -> None:
    model, before, found = decoder("grouped heads, biases", compute), torch.get_num_threads(), []
    run = Run(model, model.weights(), model.embed.detach(), model.norm.detach(), 40)
    chunk, generator = chunk_of(model, scored()), torch.Generator().manual_seed(4)
    qkv = torch.randn(len(chunk.ids), 8 * 32, generator=generator).to(compute)
    grad = torch.randn(len(chunk.ids), 4 * 32, generator=generator).to(compute)
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append((run.attention(chunk, qkv), run.attention(chunk, qkv, grad)))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_states_without_a_graph(compute: torch.dtype) -> None:
    model = decoder("small", compute)
    with torch.no_grad():
        states = model.hidden(scored())
    assert torch.equal(states, pulled(model, compiled=True)[0])


def decoded(model: Decoder, compiled: bool) -> list[Tensor]:
    """The states of 36 steps with given tokens; after 20 of them some responses leave."""
    ids = torch.randint(0, 99, (36, 5 * N), generator=torch.Generator().manual_seed(3))
    empty, rows = torch.zeros(5 * N, 1, dtype=torch.int64), torch.arange(5 * N)
    with native.using(compiled):
        twin = model.frozen()
        cache, states = twin.start(Batch(prompts(), PROMPT_LENGTHS, empty, empty[:, 0]), 40)
        found = [states]
        for t in range(36):
            found.append(twin.advance(cache, ids[t, rows]))
            if t == 20:
                rows = torch.tensor([0, 3, 4, 7, 9, 14])
                cache.keep(rows)
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("compute", "most"), [(torch.float32, 2e-6), (torch.bfloat16, 0.02)], ids=str)
def test_decoding_whatever_the_processor_has(shape: str, compute: torch.dtype, most: float, processor: int) -> None:
    model = decoder(shape, compute)
    compiled, plain = decoded(model, True), decoded(model, False)
    assert len(compiled) == len(plain) == 37
    assert max(apart(a, b) for a, b in zip(compiled, plain, strict=True)) < most
    states, _ = pulled(model, compiled=True)
    assert torch.isfinite(states).all()


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=str)
def test_a_row_does_not_depend_on_those_beside_it(compute: torch.dtype, processor: int) -> None:
    model = decoder("grouped heads, biases", compute).frozen()
    n = 30  # more rows than go together
    ids = torch.randint(0, 99, (20, 5 * n), generator=torch.Generator().manual_seed(4))
    empty, few = torch.zeros(5 * n, 1, dtype=torch.int64), torch.tensor([3, 40, 65, 66, 149])
    found = []
    for rows in (torch.arange(5 * n), few):
        cache, _ = model.start(Batch(prompts(), PROMPT_LENGTHS, empty, empty[:, 0]), 20)
        cache.keep(rows)
        found.append(torch.stack([model.advance(cache, x[rows]) for x in ids]))
    assert torch.equal(found[0][:, few], found[1])


def test_decoding_and_scoring_agree_better_than_bfloat16_needs() -> None:
    """The sampler's states and the scorer's, of the same tokens: they round at the same places."""
    model = decoder("grouped heads, biases", torch.bfloat16)
    batch = scored()
    longest = torch.full_like(batch.lengths, batch.responses.shape[1])
    batch = Batch(batch.prompts, batch.prompt_lengths, batch.responses, longest)
    with torch.no_grad():
        scored_states = model.hidden(batch).view(5 * N, -1, model.shape.width)
        twin = model.frozen()
        empty = torch.zeros(5 * N, 1, dtype=torch.int64)
        cache, states = twin.start(Batch(batch.prompts, batch.prompt_lengths, empty, empty[:, 0]), 40)
        fed = batch.responses.T[:-1].contiguous()
        sampled = [states, *(twin.advance(cache, ids) for ids in fed)]
    assert apart(torch.stack(sampled, 1), scored_states) < 5e-3


def test_infinite_weights_give_numbers_that_are_found() -> None:
    model = decoder("small", torch.float32)
    with torch.no_grad():
        model.layers[0].gate_up[0, 0] = torch.inf
    assert not torch.isfinite(model.hidden(scored())).all()
    assert not torch.isfinite(torch.stack(decoded(model, True)[:20])).all()
