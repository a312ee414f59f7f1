"""The steps that a CUDA graph repeats, run plainly: the same states as the ordinary cache, at fixed addresses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from isotherm.policy.batch import Batch, pad_prompts
from isotherm.policy.decoder import Decoder
from isotherm.policy.graphs import COLUMNS, Graphed, Running, graphed
from models import full, tiny_policy, tiny_shape

LONG = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [11, 12], [13, 14, 15]]
SHORT = [[5, 6, 7], [11, 12], [13, 14, 15]]
N, T = 2, 6


def batch(prompts: list[list[int]] = LONG, n: int = N) -> Batch:
    ids, lengths = pad_prompts(prompts)
    return full(ids, lengths, torch.randint(3, 99, (len(prompts) * n, T), generator=torch.Generator().manual_seed(1)))


def decoder(seed: int = 0) -> Decoder:
    return Decoder(tiny_shape(heads=4, kv_heads=2, bias=True)).init(seed)


def states(model, b: Batch, drop: bool = True) -> list[Tensor]:
    """Of every step, responses leaving on the way."""
    cache, state = model.start(b, T)
    rows, found = torch.arange(len(b.responses)), [state]
    for t in range(T - 1):
        if drop and t in (1, 2):
            keep = torch.tensor([0, 2, 3, 5]) if t == 1 else torch.tensor([1, 3])
            cache.keep(keep)
            rows = rows[keep]
        found.append(model.advance(cache, b.responses[rows, t]).clone())
    return found


@pytest.mark.parametrize("prompts", [LONG, SHORT], ids=["shared prompts", "copied prompts"])
def test_the_states_are_those_of_the_ordinary_cache(prompts):
    plain, held = decoder().frozen(), Graphed(decoder().frozen())
    for _ in range(2):  # the second time over what the first has left
        for a, b in zip(states(held, batch(prompts)), states(plain, batch(prompts)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_smaller_batch_takes_the_same_cache_and_a_larger_one_a_new_one():
    plain, held = decoder().frozen(), Graphed(decoder().frozen())
    sizes = []
    for b in (batch(), batch(SHORT), batch(n=4), batch([[3] * COLUMNS, [4]]), batch()):
        for x, y in zip(states(held, b, drop=False), states(plain, b, drop=False), strict=True):
            torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)
        sizes.append((held.fixed.rows, held.fixed.columns))
    assert sizes == [(6, COLUMNS), (6, COLUMNS), (12, COLUMNS), (12, 2 * COLUMNS), (12, 2 * COLUMNS)]


class Seen(TorchDispatchMode):
    """What each operation is called with: names, shapes, and the addresses of what lives longer than a step."""

    def __init__(self, lasting: list[Tensor]) -> None:
        super().__init__()
        self.lasting, self.calls = {x.untyped_storage().data_ptr() for x in lasting}, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [x for x in args if isinstance(x, Tensor)]
        places = [x.data_ptr() if x.untyped_storage().data_ptr() in self.lasting else None for x in tensors]
        rest = [x for x in args if isinstance(x, (int, float))]
        self.calls.append((func.name(), [tuple(x.shape) for x in tensors], places, rest))
        return func(*args, **(kwargs or {}))


def test_every_step_is_the_same_operations_at_the_same_addresses_and_asks_the_host_for_nothing():
    held, b = Graphed(decoder().frozen()), batch()
    runs = []
    for _ in range(2):
        cache, _ = held.start(b, T)
        fixed = cache.fixed
        lasting = [*fixed.own, fixed.mask, fixed.position, fixed.column, fixed.ids, fixed.turns]
        held.advance(cache, b.responses[:, 0])
        for t in range(1, 4):
            with Seen(lasting) as seen, torch.no_grad():
                held.steps[cache.rows]()
            assert int(fixed.column) == 10 + t + 1
            runs.append(seen.calls)
    assert all(calls == runs[0] for calls in runs)
    assert any(place is not None for _, _, places, _ in runs[0] for place in places)
    names = {name for name, *_ in runs[0]}
    assert not [n for n in names if n in ("aten::_local_scalar_dense", "aten::nonzero", "aten::item")]


def test_new_weights_come_to_the_old_addresses():
    module, b = decoder(), batch()
    held = graphed(module, module.frozen())
    states(held, b)
    kept = [x.data_ptr() for w in held.decoder.weights() for x in w if x is not None]
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(1.5)
    again = graphed(module, module.frozen())
    assert again is held
    assert kept == [x.data_ptr() for w in held.decoder.weights() for x in w if x is not None]
    for x, y in zip(states(held, b), states(module.frozen(), b), strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


def test_parameters_that_moved_get_new_graphs():
    module = decoder()
    held = graphed(module, module.frozen())
    module.embed.data = module.embed.data.clone()
    assert graphed(module, module.frozen()) is not held


def test_a_policy_on_a_gpu_samples_so(tmp_path):
    policy = tiny_policy(tmp_path)
    assert isinstance(policy.frozen(), Decoder)
    there = dataclasses.replace(policy, device=torch.device("cuda"))
    assert isinstance(there.frozen(), Graphed)
    assert there.frozen() is there.frozen()


def test_not_a_number_in_an_old_batch_does_not_reach_the_next():
    held, b = Graphed(decoder().frozen()), batch()
    cache, _ = held.start(b, T)
    assert isinstance(cache, Running)
    for own in cache.fixed.own:
        own.fill_(torch.nan)
    assert all(torch.isfinite(x).all() for x in states(held, b))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="Needs a GPU: the capture itself.")
def test_captured_states_are_those_of_the_ordinary_cache():
    b = batch()
    there = Batch(*(x.cuda() for x in (b.prompts, b.prompt_lengths, b.responses, b.lengths)))
    plain, held = decoder().cuda().frozen(), Graphed(decoder().cuda().frozen())
    for _ in range(2):
        for x, y in zip(states(held, there, drop=False), states(plain, there, drop=False), strict=True):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)
