"""The gradient in the forward pass is the gradient."""

from __future__ import annotations

import math

import pytest
import torch

from isotherm import native
from isotherm.tokens import local as module
from isotherm.tokens import products
from isotherm.tokens.local import score_with_loss
from isotherm.tokens.score import score

WAYS = {"plain": 0, "vectors": 1, "tiles": 2}


@pytest.fixture(params=WAYS, autouse=True)
def way(request, monkeypatch):
    monkeypatch.setattr(products, "fastest", WAYS[request.param])
    with native.using(request.param != "plain"):
        if request.param != "plain" and products.short_products() != WAYS[request.param]:
            pytest.skip(f"no products of bfloat16 in {request.param} here")
        yield request.param


def inputs(n=21, width=40, vocabulary=70, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, width, generator=generator)
    weight = 3 * torch.randn(vocabulary, width, generator=generator) / math.sqrt(width)
    bias, old = torch.randn(vocabulary, generator=generator), torch.randn(n, generator=generator) - 4
    target = torch.randint(vocabulary, (n,), generator=generator)
    return [x.bfloat16().to(dtype) for x in (hidden, weight, bias)], target, old.to(dtype)


def clipped(old):
    """A loss that is no linear function of its scores, and reads both of them."""
    return lambda rows, s: ((s.logprob - old[rows]).exp().clamp_max(3.0) - 0.3 * s.entropy.square() * s.s2).sum()


OPTIONS = {"plain": {}, "all": {"temperature": 0.7, "cap": 3.0}}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("rows", [1, 4, 21, 100])
@pytest.mark.parametrize(
    ("dtype", "compute", "bound"),
    [(torch.float64, None, 1e-12), (torch.float32, None, 5e-6), (torch.float32, torch.bfloat16, 5e-3)],
    ids=["f64", "f32", "bf16"],
)
def test_it_is_the_gradient_of_the_scores(monkeypatch, options, rows, dtype, compute, bound):
    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "WORDS", 32)
    sources, target, old = inputs(dtype=dtype)
    leaves = [x.requires_grad_() for x in sources]
    hidden, weight, bias = leaves
    total, scores = score_with_loss(hidden, weight, target, clipped(old), bias=bias, compute=compute, **options)
    found = torch.autograd.grad(2 * total, leaves)
    exact = [x.detach().double().requires_grad_() for x in sources]
    truth = score(exact[0], exact[1], target, bias=exact[2], **options)
    expected = clipped(old.double())(slice(None), truth)
    assert float(((total - expected) / expected).detach().abs()) < 10 * bound
    assert all(float((a - b).detach().abs().max()) < 1e-5 for a, b in zip(scores[:4], truth[:4], strict=True))
    for a, b in zip(found, torch.autograd.grad(2 * expected, exact), strict=True):
        assert a.dtype == dtype
        assert float((a - b).abs().max() / b.abs().max()) < bound


def test_bfloat16_parameters_have_bfloat16_gradients():
    (hidden, weight, _), target, old = inputs(dtype=torch.bfloat16)
    leaves = hidden.requires_grad_(), weight.requires_grad_()
    total, scores = score_with_loss(*leaves, target, clipped(old.float()))
    assert [g.dtype for g in torch.autograd.grad(total, leaves)] == [torch.bfloat16] * 2
    assert scores.entropy.dtype == total.dtype == torch.float32


def test_only_what_is_wanted_gets_a_gradient():
    (hidden, weight, _), target, old = inputs()
    total, _ = score_with_loss(hidden.requires_grad_(), weight, target, clipped(old))
    total.backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_a_loss_without_a_slope():
    (hidden, weight, _), target, _ = inputs()
    total, _ = score_with_loss(hidden.requires_grad_(), weight, target, lambda rows, s: s.s2.sum())
    total.backward()
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_no_tokens():
    (hidden, weight, _), target, old = inputs(0)
    total, scores = score_with_loss(hidden.requires_grad_(), weight.requires_grad_(), target, clipped(old))
    total.backward()
    assert weight.grad is not None
    assert not weight.grad.any()
    assert len(scores.entropy) == 0


def test_what_the_loss_raises_comes_through():
    (hidden, weight, _), target, _ = inputs()

    def bad(rows, s):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        score_with_loss(hidden.requires_grad_(), weight, target, bad)


def test_factors_that_the_compiled_functions_cannot_take():
    """As on a GPU: here, a transposed weight."""
    (hidden, weight, _), target, old = inputs(dtype=torch.bfloat16)
    total, _ = score_with_loss(hidden, weight.T.contiguous().T, target, clipped(old.float()))
    assert torch.allclose(total, score_with_loss(hidden, weight, target, clipped(old.float()))[0], rtol=1e-4)


def squares(logp):
    return logp.exp().square().sum(-1)


def top(logp):
    return logp.topk(3, -1).values.logsumexp(-1)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 5e-6)], ids=["f64", "f32"])
def test_functionals_have_the_gradient_of_the_scores(monkeypatch, options, rows, dtype, bound):
    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(module, "CHUNK", 1)
    functionals = {"squares": squares, "top": top}
    sources, target, old = inputs(dtype=dtype)

    def loss(old):
        clip = clipped(old)
        return lambda cut, s: clip(cut, s) + (s.extra["squares"] * s.extra["top"].exp() * s.s2).sum()

    def of(function, leaves, old):
        hidden, weight, bias = leaves
        more = {"bias": bias, "functionals": functionals, **options}
        if function is score_with_loss:
            return score_with_loss(hidden, weight, target, loss(old), **more)
        scores = score(hidden, weight, target, **more)
        return loss(old)(slice(None), scores), scores

    leaves = [x.requires_grad_() for x in sources]
    exact = [x.detach().double().requires_grad_() for x in sources]
    total, scores = of(score_with_loss, leaves, old)
    expected, truth = of(score, exact, old.double())
    assert float(((total - expected) / expected).detach().abs()) < 10 * bound
    for name in functionals:
        torch.testing.assert_close(scores.extra[name].double(), truth.extra[name].detach(), rtol=1e-5, atol=1e-6)
        assert not scores.extra[name].requires_grad
    for a, b in zip(torch.autograd.grad(total, leaves), torch.autograd.grad(expected, exact), strict=True):
        assert float((a - b).abs().max() / b.abs().max()) < bound


def test_no_tokens_with_functionals():
    (hidden, weight, _), target, _ = inputs(0)
    total, scores = score_with_loss(
        hidden.requires_grad_(), weight, target, lambda _, s: s.extra["top"].sum(), functionals={"top": top}
    )
    total.backward()
    assert scores.extra["top"].shape == (0,)
