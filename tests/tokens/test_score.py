from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isotherm import native
from isotherm.tokens import products, tiles
from isotherm.tokens import score as module
from isotherm.tokens.score import score

FIELDS = ("logprob", "entropy", "s2", "s2l")
WAYS = {"plain": 0, "vectors": 1, "tiles": 2}  # no compiled functions; bfloat16 products in vectors; in tiles


@pytest.fixture(params=WAYS, autouse=True)
def way(request, monkeypatch):
    """Every test runs on the plain functions and on the compiled ones."""
    monkeypatch.setattr(products, "fastest", WAYS[request.param])
    with native.using(request.param != "plain"):
        if request.param != "plain" and products.short_products() != WAYS[request.param]:
            pytest.skip(f"no products of bfloat16 in {request.param} here")
        yield request.param


def inputs(n=6, width=8, vocabulary=50, scale=1.0, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, width, generator=generator)
    weight = scale * torch.randn(vocabulary, width, generator=generator) / math.sqrt(width)
    target = torch.randint(vocabulary, (n,), generator=generator)
    return hidden.to(dtype), weight.to(dtype), target


def plain(hidden, weight, target, temperature=1.0, bias=None, cap=None, functionals=None):
    """The same in float64 by the definitions, differentiable by autograd."""
    logits = hidden.double() @ weight.double().T
    logits = logits if bias is None else logits + bias.double()
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    logp = torch.log_softmax(logits / temperature, -1)
    p = logp.exp()
    out = (logp.gather(1, target[:, None])[:, 0], -(p * logp).sum(1), (p * p).sum(1), (p * p * logp).sum(1))
    return dict(zip(FIELDS, out, strict=True)) | {name: f(logp) for name, f in (functionals or {}).items()}


def nucleus_entropy(logp, mass=0.8):
    """Entropy of the renormalised top-p nucleus."""
    ordered = logp.sort(-1, descending=True).values
    before = ordered.exp().cumsum(-1) - ordered.exp()
    inside = torch.where(before.detach() < mass, ordered, -torch.inf)
    q = torch.log_softmax(inside, -1)
    return -(q.exp() * q.masked_fill(q == -torch.inf, 0)).sum(-1)


OPTIONS = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "bias": {"bias": torch.linspace(-2, 2, 50)},
    "cap": {"cap": 1.5, "temperature": 1.3},
    "everything": {"bias": torch.linspace(-2, 2, 50), "cap": 2.0, "temperature": 0.7},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_values_against_the_definitions(options):
    found, expected = score(*inputs(), **options), plain(*inputs(), **options)
    for name in FIELDS:
        torch.testing.assert_close(getattr(found, name).double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "width", "scale"), [(4, 4, 1.0), (4, 4, 10.0), (4, 4, 100.0)])
def test_a_vocabulary_of_151_936(n, width, scale):
    data = inputs(n, width, 151_936, scale)
    found, expected = score(*data), plain(*data)
    for name in FIELDS:
        torch.testing.assert_close(getattr(found, name).double(), expected[name], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("vocabulary", [3, 5_000])
def test_logits_of_ten_thousand(vocabulary):
    """Rows: one token certain; the target impossible; all logits equal and huge; two tokens share the mass."""
    weight = torch.zeros(vocabulary, 4)
    weight[0] = torch.tensor([1e4, 1e4, 1e4, 1e4])
    weight[1] = torch.tensor([-1e4, -1e4, 1e4, 1e4])
    weight[2:, 2] = 1e4
    weight[2:, 3] = -1e4
    hidden, target = torch.eye(4), torch.tensor([0, 1, 2, 0])
    leaf, head = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    found = score(leaf, head, target)
    logv = math.log(vocabulary)
    torch.testing.assert_close(found.logprob, torch.tensor([0.0, -2e4, -logv, -math.log(2)]))
    torch.testing.assert_close(found.entropy, torch.tensor([0.0, 0.0, logv, math.log(2)]))
    torch.testing.assert_close(found.s2, torch.tensor([1.0, 1.0, 1 / vocabulary, 0.5]))
    torch.testing.assert_close(found.s2l, torch.tensor([0.0, 0.0, -logv / vocabulary, -math.log(2) / 2]))
    (found.logprob.sum() + found.entropy.sum()).backward()
    assert torch.isfinite(gradient(leaf)).all()
    assert torch.isfinite(gradient(head)).all()


def gradient(leaf: torch.Tensor) -> torch.Tensor:
    assert leaf.grad is not None
    return leaf.grad


def test_bfloat16_inputs_are_multiplied_in_float32():
    data = inputs(32, 64, 1000, 3.0, torch.bfloat16)
    found, expected = score(*data), plain(*data)
    for name in FIELDS:
        assert getattr(found, name).dtype == torch.float32
        assert float((getattr(found, name) - expected[name]).abs().max()) < 1e-5
    coarse = torch.log_softmax(data[0] @ data[1].T, -1).gather(1, data[2][:, None])[:, 0]
    assert float((coarse.double() - expected["logprob"]).abs().max()) > 1e-3


def test_bfloat16_gradients_keep_the_type_of_their_inputs():
    hidden, weight, target = inputs(dtype=torch.bfloat16)
    leaves = hidden.requires_grad_(), weight.requires_grad_()
    score(*leaves, target).logprob.sum().backward()
    assert [x.grad is not None and x.grad.dtype for x in leaves] == [torch.bfloat16] * 2


WANTED = {
    "log-prob": {"logprob": 1.0},
    "entropy": {"entropy": 1.0},
    "nucleus": {"nucleus": 1.0},
    "all": {"logprob": 0.7, "entropy": -1.3, "nucleus": 0.4, "likeliest": 2.0},
}
FUNCTIONALS = {"nucleus": nucleus_entropy, "likeliest": lambda logp: logp.max(-1).values}


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_gradients_against_autograd_whatever_the_chunk(monkeypatch, options, wanted, rows):
    monkeypatch.setattr(module, "CHUNK", rows * 50)
    options = dict(options)
    bias = options.pop("bias", None)
    hidden, weight, target = inputs(dtype=torch.float64)
    sources = [hidden, weight, *([] if bias is None else [bias.double()])]
    row = torch.linspace(0.5, 2, len(hidden), dtype=torch.float64)
    slopes = []
    for function in (score, plain):
        leaves = [x.clone().requires_grad_() for x in sources]
        bias_leaf = leaves[2] if bias is not None else None
        found = function(leaves[0], leaves[1], target, bias=bias_leaf, functionals=FUNCTIONALS, **options)
        values = found if isinstance(found, dict) else {**found._asdict(), **found.extra}
        total = torch.stack([(c * row * values[name]).sum() for name, c in wanted.items()]).sum()
        slopes.append(torch.autograd.grad(total, leaves))
    for a, b in zip(*slopes, strict=True):
        assert float(b.abs().max()) > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("tile", [(2048, 512), (3, 16), (100, 7)])
@pytest.mark.parametrize(("compute", "bound"), [(torch.float32, 3e-6), (torch.bfloat16, 5e-3)], ids=["f32", "bf16"])
def test_gradients_in_float32_against_float64(monkeypatch, options, tile, compute, bound):
    """Factors that bfloat16 holds, so that its products differ by the rounding of dz alone."""
    monkeypatch.setattr(tiles, "ROWS", tile[0])
    monkeypatch.setattr(tiles, "WORDS", tile[1])
    monkeypatch.setattr(tiles, "WIDER", tile[1])
    hidden, weight, target = inputs(40, 37, scale=2.0, dtype=torch.bfloat16)
    options = dict(options)
    sources = [hidden.float(), weight.float(), *([options.pop("bias")] if "bias" in options else [])]
    row = torch.linspace(-1, 2, 40)
    row[:5] = 0  # these rows have no gradient
    slopes = []
    for function, more in ((score, {"compute": compute}), (plain, {})):
        kind = torch.float32 if function is score else torch.float64
        leaves = [x.to(kind).requires_grad_() for x in sources]
        bias = leaves[2] if len(leaves) > 2 else None
        found = function(leaves[0], leaves[1], target, bias=bias, **options, **more)
        found = found if isinstance(found, dict) else found._asdict()
        total = (row * found["logprob"]).sum() - (0.7 * row * found["entropy"]).sum()
        slopes.append(torch.autograd.grad(total, leaves))
    for a, b in zip(*slopes, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).abs().max() / b.abs().max()) < bound
    assert not slopes[0][0][:5].any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_stays_one(bad):
    """In its own row, in every statistic."""
    hidden, weight, target = inputs()
    hidden[2, 3] = bad
    found = score(hidden, weight, target)
    for name in FIELDS:
        assert torch.isfinite(getattr(found, name)).tolist() == [i != 2 for i in range(6)]


def test_float64_stays_float64():
    hidden, weight, target = inputs(dtype=torch.float64)
    found = score(hidden, weight, target)
    assert all(getattr(found, name).dtype == torch.float64 for name in FIELDS)


def test_the_entropy_of_bfloat16_factors_is_not_one_of_bfloat16():
    """Logits rounded to bfloat16 are 3e-3 off and more: useless where entropy moves by 1e-3 in a step."""
    data = inputs(64, 64, 1000, 6.0, torch.bfloat16)
    found, truth = score(*data).entropy, plain(*data)["entropy"]
    coarse = (data[0] @ data[1].T).float().log_softmax(-1)
    rounded = -(coarse.exp() * coarse).sum(-1)
    assert found.dtype == torch.float32
    assert float((found - truth).abs().max()) < 1e-5
    assert float((rounded - truth).abs().max()) > 3e-3


def test_the_hidden_gradient_is_not_summed_in_bfloat16():
    """Sums over the words that are rounded to bfloat16 word after word are an order of magnitude worse."""
    hidden, weight, target = inputs(64, 64, 8192, 3.0, torch.bfloat16)
    hidden, weight = hidden.float(), weight.float()
    leaf = hidden.clone().requires_grad_()
    score(leaf, weight, target, compute=torch.bfloat16).logprob.sum().backward()
    exact = hidden.double().requires_grad_()
    plain(exact, weight, target)["logprob"].sum().backward()
    truth = gradient(exact)
    logits = (hidden @ weight.T).requires_grad_()
    (dz,) = torch.autograd.grad(logits.log_softmax(-1).gather(1, target[:, None]).sum(), logits)
    coarse = torch.zeros_like(hidden, dtype=torch.bfloat16)
    for z, w in zip(dz.split(512, 1), weight.split(512), strict=True):
        coarse += (z @ w).bfloat16()
    ours, theirs = (float((x - truth).abs().max() / truth.abs().max()) for x in (gradient(leaf), coarse))
    assert ours < 1e-3
    assert theirs > 3e-3


def test_factors_are_rounded_on_request_only(way):
    exact, asked = (score(*inputs(32, 64), compute=kind).logprob for kind in (None, torch.bfloat16))
    assert torch.equal(exact, asked) == (way == "plain")
    assert float((exact - asked).abs().max()) < 0.1


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7])
def test_chunks_meet_without_a_seam(monkeypatch, rows):
    whole = score(*inputs())
    monkeypatch.setattr(module, "CHUNK", rows * 50)
    monkeypatch.setattr(tiles, "ROWS", rows)
    monkeypatch.setattr(tiles, "WORDS", 7 * rows)
    monkeypatch.setattr(tiles, "WIDER", 7 * rows)
    parts = score(*inputs())
    for name in FIELDS:
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-6, atol=1e-6)


def test_no_tokens():
    hidden, weight, target = inputs(0)
    leaf = hidden.requires_grad_()
    found = score(leaf, weight, target, functionals=FUNCTIONALS)
    assert all(getattr(found, name).shape == (0,) for name in FIELDS)
    found.logprob.sum().backward()
    assert gradient(leaf).shape == (0, 8)


def test_the_moments_carry_no_gradient():
    hidden, weight, target = inputs()
    found = score(hidden.requires_grad_(), weight, target)
    assert found.logprob.requires_grad
    assert found.entropy.requires_grad
    assert not found.s2.requires_grad
    assert not found.s2l.requires_grad


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.size = max(self.size, *sizes, 0)
        return out


@pytest.mark.parametrize("functionals", [{}, {"likeliest": FUNCTIONALS["likeliest"]}], ids=["plain", "functional"])
def test_no_tensor_of_all_tokens_by_the_vocabulary(monkeypatch, functionals):
    n, vocabulary, rows = 96, 32_000, 12
    monkeypatch.setattr(module, "CHUNK", rows * vocabulary)
    monkeypatch.setattr(tiles, "WORDS", 2_000)
    monkeypatch.setattr(tiles, "WIDER", 2_000)
    hidden, weight, target = inputs(n, 8, vocabulary)
    with Largest() as forward:
        found = score(hidden.requires_grad_(), weight.requires_grad_(), target, functionals=functionals)
        total = found.logprob.sum() + found.entropy.sum() + sum(x.sum() for x in found.extra.values())
    with Largest() as backward:
        total.backward()
    in_tiles = native.on() and not functionals
    assert forward.size == (n * 2_000 if in_tiles else rows * vocabulary)
    assert backward.size == (max(n * 2_000, 8 * vocabulary) if in_tiles else rows * vocabulary)  # dW is [vocabulary, 8]
