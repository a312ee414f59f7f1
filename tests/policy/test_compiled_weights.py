"""The one pass over each matrix against `Decoder.prepare` and autograd."""

from __future__ import annotations

import pytest
import torch

from isotherm import native
from isotherm.policy.compiled_weights import gradients, parameters, prepared
from isotherm.policy.decoder import Decoder
from isotherm.policy.weights import Weights
from models import tiny_shape

pytestmark = pytest.mark.skipif(not native.on(), reason=native.reason())

SHAPES = {
    "grouped heads, biases": {"heads": 4, "kv_heads": 2, "head_width": 8, "bias": True, "attention_bias": True},
    "wider than a block of columns": {"width": 300, "heads": 3, "kv_heads": 1, "head_width": 20, "mlp": 50},
}
KINDS = [torch.float32, torch.bfloat16]


def decoder(shape: str, kind: torch.dtype) -> Decoder:
    model = Decoder(tiny_shape(**SHAPES[shape]), kind).init(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
    return model


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_matrices_are_the_plain_ones_to_the_bit(shape: str, kind: torch.dtype) -> None:
    model = decoder(shape, kind)
    layer = model.layers[1]
    plain, found = model.cast_all(model.prepare(layer)), prepared(model.shape, kind, layer)
    for name, a, b in zip(Weights._fields, plain, found, strict=True):
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype == kind and torch.equal(a, b)), name


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_are_those_of_autograd(shape: str, kind: torch.dtype) -> None:
    """Of matrices whose own gradients come in float32 or in bfloat16."""
    model = decoder(shape, torch.float32)
    layer, generator = model.layers[1], torch.Generator().manual_seed(1)
    made = {n: x for n, x in model.prepare(layer)._asdict().items() if x is not None}
    grads = {n: torch.randn(x.shape, generator=generator).to(kind) for n, x in made.items()}
    torch.stack([(made[n] * grads[n].float()).sum() for n in made]).sum().backward()
    p = parameters(layer)
    found = gradients(model.shape, p, dict.fromkeys(Weights._fields) | grads)
    for name, parameter, grad in zip(p._fields, p, found, strict=True):
        assert (parameter is None) == (grad is None), name
        assert grad is None or grad.dtype == torch.float32, name
        assert grad is None or torch.allclose(grad, parameter.grad, rtol=1e-6, atol=1e-4 * ("norm" in name)), name


def test_the_sum_of_a_bias() -> None:
    for kind in KINDS:
        x, total = torch.randn(257, 37, generator=torch.Generator().manual_seed(0)).to(kind), torch.empty(37)
        native.call("sum_rows", x, total, 257, 37, int(kind == torch.bfloat16))
        assert torch.allclose(total.double(), x.double().sum(0), atol=1e-5)
