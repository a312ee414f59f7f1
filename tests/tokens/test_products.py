"""Products of bfloat16 matrices, against float64, at sizes that fill blocks and sizes that do not."""

from __future__ import annotations

import pytest
import torch

from isotherm import native
from isotherm.tokens import products
from isotherm.tokens.products import Exact, Short

SIZES = [(64, 32, 96), (33, 70, 51), (1, 1, 1), (600, 40, 35), (5, 100, 600)]  # rows, words, width


@pytest.fixture(params=[1, 2], ids=["vectors", "tiles"], autouse=True)
def kind(request, monkeypatch):
    monkeypatch.setattr(products, "fastest", request.param)
    if products.short_products() != request.param:
        pytest.skip("this processor does not multiply bfloat16 so, or nothing is compiled")


def relative(found, expected):
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_three_products(size, dtype):
    rows, words, width = size
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, width, generator=generator).bfloat16() for n in (rows, words))
    factors, h, w = Short(hidden.to(dtype), weight.to(dtype)), hidden.double(), weight.double()
    all_rows, all_words = slice(0, rows), slice(0, words)
    room = torch.full((rows, words + 16), 7.0)
    tile = room[:, :words]
    factors.logits(tile, all_rows, all_words)
    assert relative(tile, h @ w.T) < 1e-5
    assert bool((room[:, words:] == 7).all())
    dz = factors.slopes(tile)
    dz.copy_(torch.randn(rows, words, generator=generator))
    z = dz.double()
    dh, dw = torch.ones(rows, width), torch.full((words, width), torch.nan)
    factors.to_hidden(dh, dz, all_rows, all_words)
    assert relative(dh - 1, z @ w) < 1e-5
    factors.to_weight(dw, dz, all_rows)
    assert relative(dw, z.T @ h) < 1e-5


def test_a_factor_is_rounded_to_the_nearest():
    x = torch.tensor([[1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20]]).T.contiguous()
    tile = torch.zeros(3, 1)
    Short(x, torch.ones(1, 1)).logits(tile, slice(0, 3), slice(0, 1))
    assert torch.equal(tile, x.bfloat16().float())


def test_two_threads_multiply_as_one():
    h, w = torch.randn(300, 64), torch.randn(200, 64)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        tile = torch.zeros(300, 200)
        Short(h, w).logits(tile, slice(0, 300), slice(0, 200))
        found.append(tile)
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_exact_products_take_any_kind():
    tile = torch.zeros(2, 3)
    Exact(torch.ones(2, 4, dtype=torch.bfloat16), torch.ones(3, 4)).logits(tile, slice(0, 2), slice(0, 3))
    assert bool((tile == 4).all())
    assert native.reason()
