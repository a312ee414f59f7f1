"""A layer's products with what follows them, on blocks of rows, against float64 and against torch's products."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from isotherm import native
from isotherm.policy.layer_products import Apart, Together, products
from isotherm.policy.weights import Weights
from isotherm.tokens.products import short_products

EPS = 1e-6
BF = torch.bfloat16
SIZES = {"whole blocks": (256, 64, 512), "odd": (300, 40, 320), "one row": (1, 24, 32)}  # rows, width, mlp

pytestmark = pytest.mark.skipif(short_products() != 2, reason="this processor does not multiply in tiles")


class Case:
    def __init__(self, rows: int, width: int, mlp: int) -> None:
        make = torch.Generator().manual_seed(rows)
        self.stream, self.grad = (torch.randn(rows, width, generator=make) for _ in range(2))
        self.x, self.mixed = (torch.randn(rows, n, generator=make).to(BF) for n in (width, 48))
        qkv, out, gate_up, down = (
            (torch.randn(*shape, generator=make) / shape[1] ** 0.5).to(BF)
            for shape in ((56, width), (width, 48), (2 * mlp, width), (width, mlp))
        )
        bias, out_bias = torch.randn(56, generator=make).to(BF), torch.randn(width, generator=make).to(BF)
        self.w, self.scale = Weights(qkv, bias, out, out_bias, gate_up, down), torch.rand(width, generator=make)


@pytest.fixture(params=SIZES.values(), ids=list(SIZES))
def case(request) -> Case:
    return Case(*request.param)


def normal(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()


def close(found: torch.Tensor, wanted: torch.Tensor, bound: float) -> None:
    assert found.shape == wanted.shape
    assert (found.double() - wanted).abs().max() <= bound * wanted.abs().max()


def test_linear_and_its_way_back(case):
    ways, w = Together(EPS), case.w
    close(ways.linear(case.x, w.qkv, w.qkv_bias), F.linear(case.x.double(), w.qkv.double(), w.qkv_bias.double()), 4e-3)
    close(ways.linear_back(case.x, w.out), case.x.double() @ w.out.double(), 4e-3)


@pytest.mark.parametrize("scaled", [False, True])
def test_what_is_added_to_the_stream_and_normalised(case, scaled):
    scale = case.scale if scaled else None
    out, y = Together(EPS).add_normal(case.mixed, case.w.out, case.w.out_bias, case.stream, scale)
    wanted = case.stream.double() + F.linear(case.mixed.double(), case.w.out.double(), case.w.out_bias.double())
    close(out, wanted, 4e-3)
    close(y, normal(wanted) * (case.scale.double() if scaled else 1), 8e-3)
    assert y.dtype == (torch.float32 if scaled else BF)


def mlp(x: torch.Tensor, stream: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    gate, up = (x @ gate_up.T).chunk(2, 1)
    return stream + (F.silu(gate) * up) @ down.T


@pytest.mark.parametrize("scaled", [False, True])
def test_mlp(case, scaled):
    out, y, _ = Together(EPS).mlp(case.x, case.w, case.stream, case.scale if scaled else None)
    wanted = mlp(case.x.double(), case.stream.double(), case.w.gate_up.double(), case.w.down.double())
    close(out, wanted, 8e-3)
    close(y, normal(wanted) * (case.scale.double() if scaled else 1), 1.2e-2)


@pytest.mark.parametrize("again", [False, True], ids=["first", "added"])
def test_gradient_of_the_mlp_and_its_norm_against_autograd(case, again):
    """x is the norm of the stream, so that both gradients of the stream are in it."""
    stream = case.stream.double().requires_grad_()
    gate_up, down = (w.double().requires_grad_() for w in (case.w.gate_up, case.w.down))
    mlp(normal(stream), stream, gate_up, down).backward(case.grad.double())
    x, g, copy = normal(case.stream).to(BF), case.grad.clone(), case.grad.to(BF)
    before = (torch.ones(gate_up.shape), torch.ones(down.shape)) if again else (None, None)
    found = Together(EPS).mlp_back(x, case.w, case.stream, None, g, copy, before)
    close(g, stream.grad, 2e-2)
    assert torch.equal(copy, g.to(BF))
    for total, wanted in zip(found, (gate_up.grad, down.grad), strict=True):
        close(total - int(again), wanted, 2e-2)


def test_gradient_through_a_norm_and_of_a_weight_are_those_of_torchs_products(case):
    found = []
    for ways in (Together(EPS), Apart(BF, EPS)):
        g, copy = case.grad.clone(), torch.empty(case.x.shape, dtype=BF)
        grad = F.linear(case.x, case.w.qkv)
        ways.normal_back(grad, case.w.qkv, case.stream, g, copy)
        found.append((g, copy, ways.to_weight(None, grad, case.x)))
    for mine, theirs in zip(*found, strict=True):
        close(mine, theirs.double(), 2e-2)


def test_who_multiplies(monkeypatch):
    assert isinstance(products(BF, EPS, 64), Together)
    assert isinstance(products(BF, EPS, 40), Apart)  # up would begin within a panel
    assert isinstance(products(torch.float32, EPS, 64), Apart)
    with native.using(False):
        assert isinstance(products(BF, EPS, 64), Apart)


def test_no_memory_is_said(monkeypatch):
    monkeypatch.setattr(native, "call", lambda name, *_: int(name == "linear"))
    x = torch.zeros(2, 32, dtype=BF)
    with pytest.raises(MemoryError, match="no memory for linear"):
        Together(EPS).linear(x, torch.zeros(32, 32, dtype=BF), None)
