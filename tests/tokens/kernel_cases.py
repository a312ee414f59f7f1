"""Cases of tests/tokens/test_score_gpu.py, which runs them: against the definitions in float64."""

from __future__ import annotations

import math

import pytest
import torch

from isotherm.tokens import epilogue, score, score_gpu
from isotherm.tokens.epilogue import Softmax, Statistics
from isotherm.tokens.score_gpu import gradients, score_on_gpu, statistics, statistics_and_gradients

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FIELDS = ("logprob", "entropy", "s2", "s2l")
V = 150  # two tiles of 128 columns at most, blocks of 32: neither divides it
OPTIONS = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "bias": {"bias": torch.linspace(-2, 2, V, device=DEVICE)},
    "everything": {"bias": torch.linspace(-2, 2, V, device=DEVICE), "cap": 2.0, "temperature": 0.7},
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several blocks in a tile, several tiles in a vocabulary, several chunks of rows."""
    monkeypatch.setattr(epilogue, "BLOCK", 32)
    monkeypatch.setattr(score_gpu, "TILE", 1)
    monkeypatch.setattr(score_gpu, "WHOLE", 1)
    monkeypatch.setattr(score_gpu, "ROWS", 4)


def inputs(n=6, width=8, vocabulary=V, scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, width, generator=generator)
    weight = scale * torch.randn(vocabulary, width, generator=generator) / math.sqrt(width)
    target = torch.randint(vocabulary, (n,), generator=generator)
    target[: n // 2] = vocabulary - 1  # the last tile has its share
    return hidden.to(DEVICE, dtype), weight.to(DEVICE, dtype), target.to(DEVICE)


def plain(hidden, weight, target, temperature=1.0, bias=None, cap=None) -> dict[str, torch.Tensor]:
    logits = hidden.double() @ weight.double().T
    logits = logits if bias is None else logits + bias.double()
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    logp = torch.log_softmax(logits / temperature, -1)
    p = logp.exp()
    out = (logp.gather(1, target[:, None])[:, 0], -(p * logp).sum(1), (p * p).sum(1), (p * p * logp).sum(1))
    return dict(zip(FIELDS, out, strict=True))


def close(found: Statistics, expected: dict[str, torch.Tensor], tolerance=2e-6) -> None:
    for name in FIELDS:
        value = getattr(found, name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected[name], rtol=tolerance, atol=tolerance)


def slopes(function, data, g1, g2, **options) -> tuple[torch.Tensor, ...]:
    """d (g1 log pi + g2 H) / d hidden, weight and bias."""
    hidden, weight, target = data
    bias = options.pop("bias", None)
    leaves = [x.clone().requires_grad_() for x in (hidden, weight, bias) if x is not None]
    found = function(leaves[0], leaves[1], target, bias=leaves[2] if bias is not None else None, **options)
    logprob, entropy = (found["logprob"], found["entropy"]) if isinstance(found, dict) else found[:2]
    return torch.autograd.grad((g1 * logprob + g2 * entropy).sum(), leaves)


def on_gpu(hidden, weight, target, bias=None, **options):
    return score_on_gpu(hidden, weight, bias, target, **options)


def coefficients(n):
    return torch.linspace(0.5, 2, n, device=DEVICE), torch.linspace(-1, 1.5, n, device=DEVICE)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("n", [1, 6])
def test_values(options, n):
    close(statistics(*inputs(n), Softmax(**options)), plain(*inputs(n), **options))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradients(options):
    data = inputs()
    doubles = data[0].double(), data[1].double(), data[2]
    expected = slopes(plain, doubles, *coefficients(6), **options)
    for a, b in zip(slopes(on_gpu, data, *coefficients(6), **options), expected, strict=True):
        assert float(b.abs().max()) > 1e-3
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-5, atol=2e-6)


def test_score_takes_them_on_a_gpu_unless_a_functional_is_asked_for(monkeypatch):
    data, called = inputs(), []
    monkeypatch.setattr(score, "fits_gpu", lambda *operands: True)
    monkeypatch.setattr(score_gpu, "statistics", lambda *a: called.append(a) or statistics(*a))
    found = score.score(*data, **OPTIONS["everything"])
    assert len(called) == 1
    for name, value in plain(*data, **OPTIONS["everything"]).items():
        torch.testing.assert_close(getattr(found, name).double(), value, rtol=2e-6, atol=2e-6)
    score.score(*data, functionals={"likeliest": lambda logp: logp.max(-1).values})
    assert len(called) == 1


def test_gradient_in_forward_is_that_of_the_two_passes(monkeypatch):
    monkeypatch.setattr(score_gpu, "MULTIPLE", 4)
    monkeypatch.setattr(score_gpu, "TILE", 4 * 100)
    data, how, seen = inputs(), Softmax(**OPTIONS["everything"]), []

    def chosen(found: Statistics, rows: slice):
        seen.append(rows)
        return found.logprob.exp(), 0.1 * found.entropy

    found, total = statistics_and_gradients(*data, how, chosen)
    assert seen == [slice(0, 4), slice(4, 6)]
    close(found, plain(*data, **OPTIONS["everything"]))
    again = gradients(*data, how, found, found.logprob.exp(), 0.1 * found.entropy)
    for a, b in zip(total, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_tile_of_logits_may_be_bfloat16(kind):
    logits, target = 5 * torch.randn(3, 70, device=DEVICE), torch.tensor([0, 40, 69], device=DEVICE)
    logits, state, how = logits.to(kind), epilogue.begin(3, logits.device), Softmax(0.5)
    for start in (0, 35):
        epilogue.add_tile(state, logits[:, start : start + 35].contiguous(), target, start, how)
    found, identity = epilogue.finish(state), torch.eye(70, device=DEVICE)
    close(found, plain(logits, identity, target, 0.5))
    g1, g2 = coefficients(3)
    leaf = logits.double().requires_grad_()
    out = plain(leaf, identity, target, 0.5)
    (expected,) = torch.autograd.grad((g1 * out["logprob"] + g2 * out["entropy"]).sum(), leaf)
    dz = epilogue.gradient_of_tile(logits, target, 0, how, found, g1, g2, kind)
    assert dz.data_ptr() == logits.data_ptr()  # in place
    tolerance = 2e-6 if kind == torch.float32 else 2e-2
    torch.testing.assert_close(dz.double(), expected, rtol=tolerance, atol=1e-6)


def test_logits_of_ten_thousand():
    """Rows: one token certain; the target impossible; all logits equal and huge; two tokens share the mass."""
    weight = torch.zeros(V, 4, device=DEVICE)
    weight[0], weight[1] = 1e4, torch.tensor([-1e4, -1e4, 1e4, 1e4])
    weight[2:, 2], weight[2:, 3] = 1e4, -1e4
    hidden, target = torch.eye(4, device=DEVICE), torch.tensor([0, 1, 2, 0], device=DEVICE)
    found, logv = statistics(hidden, weight, target, Softmax()), math.log(V)
    expected = [[0, -2e4, -logv, -math.log(2)], [0, 0, logv, math.log(2)]]
    expected += [[1, 1, 1 / V, 0.5], [0, 0, -logv / V, -math.log(2) / 2]]
    close(found, dict(zip(FIELDS, torch.tensor(expected, dtype=torch.float64, device=DEVICE), strict=True)), 1e-5)
    for g in slopes(on_gpu, (hidden, weight, target), *coefficients(4)):
        assert torch.isfinite(g).all()


def test_a_forbidden_token_has_no_part():
    hidden, weight, target = inputs()
    bias = torch.zeros(V, device=DEVICE)
    bias[:70], target[:] = -torch.inf, 100
    found = statistics(hidden, weight, target, Softmax(bias=bias))
    close(found, plain(hidden, weight[70:], target - 70))
    assert all(torch.isfinite(g).all() for g in slopes(on_gpu, (hidden, weight, target), *coefficients(6), bias=bias))


def test_nan_in_nan_out_in_its_row_alone():
    hidden, weight, target = inputs()
    hidden[1, 0] = torch.nan
    found = statistics(hidden, weight, target, Softmax())
    for name in FIELDS:
        assert getattr(found, name).isnan().tolist() == [i == 1 for i in range(6)]
    grad_hidden, grad_weight = slopes(on_gpu, (hidden, weight, target), *coefficients(6))
    assert grad_hidden.isnan().any(1).tolist() == [i == 1 for i in range(6)]
    assert grad_weight.isnan().any()


def test_a_target_outside_the_vocabulary_is_nan():
    hidden, weight, target = inputs()
    target[0], target[1] = V, -1
    assert statistics(hidden, weight, target, Softmax()).logprob.isnan().tolist() == [True, True] + [False] * 4


def test_strides_do_not_matter():
    hidden, weight, target = inputs()
    apart, g = torch.stack((target, target + 1), 1)[:, 0], torch.ones((), device=DEVICE).expand(6)
    bias = torch.linspace(-2, 2, 2 * V, device=DEVICE)[::2]
    found = statistics(hidden, weight, apart, Softmax(bias=bias))
    close(found, plain(hidden, weight, target, bias=bias))
    a = gradients(hidden, weight, apart, Softmax(bias=bias), found, g, g)
    b = gradients(hidden, weight, target, Softmax(bias=bias.contiguous()), found, g.clone(), g.clone())
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_no_rows():
    data = inputs(0)
    found, total = statistics_and_gradients(*data, Softmax(), lambda s, rows: (s.logprob, s.entropy))
    assert all(x.shape == (0,) for x in found)
    grad_hidden, grad_weight = slopes(on_gpu, data, *coefficients(0))
    assert grad_hidden.shape == (0, 8)
    assert not grad_weight.any()
    assert not total.weight.any()


def test_the_moments_carry_no_gradient():
    hidden, weight, target = inputs()
    out = score_on_gpu(hidden.requires_grad_(), weight, None, target)
    assert [x.requires_grad for x in out] == [True, True, False, False]


def test_bfloat16_operands_give_float32_statistics():
    data = inputs(5, 16, 300, 3.0, torch.bfloat16)
    close(statistics(*data, Softmax()), plain(*data), 5e-6)


def test_the_gradients_are_not_summed_in_bfloat16():
    """dz is rounded once, as an operand; then nothing, not even each tile's product (`coarse`)."""
    hidden, weight, target = inputs(8, 16, 700, 1.0, torch.bfloat16)
    found, (g1, g2) = statistics(hidden, weight, target, Softmax()), coefficients(8)
    total = gradients(hidden, weight, target, Softmax(), found, g1, g2)
    assert {x.dtype for x in total[:2]} == {torch.float32}
    logits = hidden.float() @ weight.float().T
    dz = epilogue.gradient_of_tile(logits, target, 0, Softmax(), found, g1, g2, torch.bfloat16)
    coarse = torch.zeros_like(hidden)
    for cut in score_gpu.cuts(700, 128):
        coarse += (dz[:, cut].float() @ weight[cut].float()).bfloat16()
    assert error(total.hidden, dz.double() @ weight.double()) < 1e-6
    assert error(total.weight, dz.double().T @ hidden.double()) < 1e-6
    assert error(coarse, dz.double() @ weight.double()) > 1e-3
    exact = slopes(plain, (hidden.double(), weight.double(), target), g1, g2)
    assert all(error(a, b) < 5e-3 for a, b in zip(total[:2], exact, strict=True))


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


def test_float32_inputs_multiplied_in_bfloat16_get_float32_gradients():
    hidden, weight, target = inputs()
    coarse = slopes(on_gpu, (hidden, weight, target), *coefficients(6), compute=torch.bfloat16)
    fine = slopes(on_gpu, (hidden, weight, target), *coefficients(6))
    for a, b in zip(coarse, fine, strict=True):
        assert a.dtype == torch.float32
        assert 1e-5 < error(a, b.double()) < 2e-2
