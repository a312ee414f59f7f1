"""A layer's matrices as they are multiplied."""

from __future__ import annotations

from typing import Any, NamedTuple


class Weights(NamedTuple):
    """The norms' scales and q's 1 / sqrt(head_width) folded in; the two numbers that the rotary embedding turns are
    neighbours. Tensors; a bias may be None."""

    qkv: Any
    qkv_bias: Any
    out: Any
    out_bias: Any
    gate_up: Any
    down: Any
