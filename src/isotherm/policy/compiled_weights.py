"""`Decoder.prepare` in one pass over each matrix, and its gradient in another (`native/prepare.c`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from isotherm import native
from isotherm.policy.weights import Weights

if TYPE_CHECKING:
    from isotherm.policy.decoder import Decoder, Layer, Shape

NORMS = {"qkv": "norm1", "gate_up": "norm2"}  # whose scale is folded in
TURNED = "qkv", "qkv_bias"


class Parameters(NamedTuple):
    """Those of a layer, or their gradients."""

    norm1: Any
    norm2: Any
    qkv: Any
    qkv_bias: Any
    out: Any
    out_bias: Any
    gate_up: Any
    down: Any


def can(decoder: Decoder) -> bool:
    """Whether the compiled functions take this decoder's weights."""
    wanted = decoder.compute in (torch.float32, torch.bfloat16) and decoder.embed.dtype == torch.float32
    return wanted and native.fits(decoder.embed)


def parameters(layer: Layer) -> Parameters:
    return Parameters(*(getattr(layer, name) for name in Parameters._fields))


def prepared(s: Shape, kind: torch.dtype, layer: Layer) -> Weights:
    return Weights(*(matrix(s, kind, layer, name) for name in Weights._fields))


def matrix(s: Shape, kind: torch.dtype, layer: Layer, name: str) -> Tensor | None:
    w = getattr(layer, name)
    if w is None or (unchanged(name) and w.dtype == kind):
        return w
    out, norm = torch.empty(w.shape, dtype=kind), getattr(layer, NORMS[name]) if name in NORMS else None
    native.call("prepare", w.contiguous(), norm, out, *sizes(s, name, w), is_bfloat(out))
    return out


def gradients(s: Shape, p: Parameters, total: Mapping[str, Tensor | None]) -> Parameters:
    """Of the parameters, from those of what they became."""
    found: dict[str, Tensor | None] = dict.fromkeys(Parameters._fields)
    for name, grad in total.items():
        if grad is None or (unchanged(name) and grad.dtype == torch.float32):
            found[name] = grad
            continue
        w, norm, dnorm = getattr(p, name), None, None
        dw = found[name] = torch.empty(w.shape)
        if name in NORMS:
            norm = getattr(p, NORMS[name])
            dnorm = found[NORMS[name]] = torch.empty(norm.shape)
        native.call("prepare_back", grad, w.contiguous(), norm, dw, dnorm, *sizes(s, name, w), is_bfloat(grad))
    return Parameters(**found)


def unchanged(name: str) -> bool:
    """Whether this parameter is multiplied as it is."""
    return name not in NORMS and name not in TURNED


def sizes(s: Shape, name: str, w: Tensor) -> tuple[int, ...]:
    """Rows, numbers in a row; rows that are scaled, rows that are turned, rows of a head."""
    heads = s.heads, s.heads + s.kv_heads, 1
    return len(w), w[0].numel(), *(count * s.head_width for count in (heads if name in TURNED else (0, 0, 1)))


def is_bfloat(x: Tensor) -> int:
    return int(x.dtype == torch.bfloat16)
