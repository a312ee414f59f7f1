"""A step of AdamW, compiled and plain, against torch's in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from isotherm import native
from isotherm.update import adamw

pytestmark = pytest.mark.usefixtures("functions")

SIZES = [(3, 5), (16,), (100_003,), (1,), (40, 64)]
OPTIONS = {"lr": 1e-2, "betas": (0.8, 0.97), "eps": 1e-4, "weight_decay": 0.3}


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator).requires_grad_() for size in SIZES]


def gradients(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1 + number)
    return [torch.randn(size, generator=generator) * 10.0 ** (number % 3 - 1) for size in SIZES]


def moved(kinds: list[str], largest: float) -> tuple[list[Tensor], torch.optim.AdamW]:
    """Parameters after a step of each of these kinds."""
    found = parameters()
    optimizer = torch.optim.AdamW(found, fused=True, **OPTIONS)
    for number, kind in enumerate(kinds):
        for p, g in zip(found, gradients(number), strict=True):
            p.grad = g
        with native.using(native.wanted() and kind == "compiled"):
            adamw.step(optimizer, adamw.total_norm([p.grad for p in found if p.grad is not None]), largest)
        assert all(p.grad is None for p in found)
    return found, optimizer


def truth(steps: int, largest: float) -> tuple[list[Tensor], torch.optim.AdamW]:
    found = [p.detach().double().requires_grad_() for p in parameters()]
    optimizer = torch.optim.AdamW(found, foreach=False, **OPTIONS)
    for number in range(steps):
        for p, g in zip(found, gradients(number), strict=True):
            p.grad = g.double()
        if largest:
            torch.nn.utils.clip_grad_norm_(found, largest)
        optimizer.step()
    return found, optimizer


@pytest.mark.parametrize("largest", [0.0, 20.0, 1e6], ids=["no limit", "some are cut", "none is cut"])
@pytest.mark.parametrize("kinds", [["compiled"] * 7, ["compiled", "plain"] * 3], ids=["alone", "in turns"])
def test_weights_and_moments_are_those_of_torch_in_float64(kinds: list[str], largest: float) -> None:
    (found, optimizer), (true, exact) = moved(kinds, largest), truth(len(kinds), largest)
    for p, q in zip(found, true, strict=True):
        assert torch.allclose(p.double(), q, rtol=2e-6, atol=2e-6)
        assert optimizer.state[p].keys() == exact.state[q].keys()
        for name, value in optimizer.state[p].items():
            assert value.dtype == torch.float32, name
            assert value.shape == exact.state[q][name].shape, name
            assert torch.allclose(value.double(), exact.state[q][name].double(), rtol=1e-5, atol=1e-6), name


def test_the_norm_of_all_together() -> None:
    grads = gradients(2)
    exact = math.sqrt(sum(float(g.double().square().sum()) for g in grads))
    assert math.isclose(float(adamw.total_norm(grads)), exact, rel_tol=1e-6)
    grads[2][77_777] = math.nan
    assert math.isnan(float(adamw.total_norm(grads)))


def test_without_a_gradient_nothing_moves() -> None:
    still, other = parameters()[:2]
    optimizer, before = torch.optim.AdamW([still, other], fused=True, **OPTIONS), still.detach().clone()
    other.grad = torch.ones_like(other)
    adamw.step(optimizer, torch.tensor(4.0), 1.0)
    assert torch.equal(still, before)
    assert set(optimizer.state) == {other}


@pytest.mark.parametrize(("place", "value"), [("weight", math.inf), ("gradient", math.nan), ("exp_avg_sq", math.inf)])
def test_it_says_what_is_no_longer_finite(place: str, value: float) -> None:
    found, optimizer = moved(["compiled"], 0.0)
    for p, g in zip(found, gradients(1), strict=True):
        p.grad = g
    spoilt = {"weight": found[2].detach(), "gradient": found[2].grad} | optimizer.state[found[2]]
    spoilt[place].view(-1)[100_001] = value
    said = {name: math.isfinite(x) for name, x in adamw.step(optimizer, torch.tensor(1.0), 0.0).items()}
    assert said == {"weights": place == "exp_avg_sq", "optimizer_state": place == "weight"}
