"""The products of a compiled layer, each with what follows it on the same rows, forward and backward.

`Apart`: torch multiplies, and `native/layers.c` does the rest. `Together`: `native/linear.c` does both on blocks of
rows that the cache holds; for bfloat16 on processors that multiply it in tiles.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from isotherm import native
from isotherm.policy.compiled_weights import is_bfloat
from isotherm.policy.weights import Weights
from isotherm.tokens.products import BLOCK, multiply, pack, short_products

Grad = Tensor | None


def products(kind: torch.dtype, eps: float, mlp: int) -> Apart | Together:
    together = kind == torch.bfloat16 and short_products() == 2 and mlp % BLOCK == 0
    return Together(eps) if together else Apart(kind, eps)


class Apart:
    def __init__(self, kind: torch.dtype, eps: float) -> None:
        self.kind, self.eps = kind, eps

    def linear(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, w, bias)

    def linear_back(self, grad: Tensor, w: Tensor) -> Tensor:
        return grad @ w

    def add_normal(
        self, x: Tensor, w: Tensor, bias: Tensor | None, stream: Tensor, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """stream + x w^T + bias, and that normalised: in the compute precision, or with a scale in float32."""
        delta, out = F.linear(x, w, bias), torch.empty_like(stream)
        y = normalised(stream, self.kind, scale)
        kinds = is_bfloat(delta), is_bfloat(y)
        native.call("normal_forward", stream, out, delta, scale, y, *stream.shape, self.eps, *kinds)
        return out, y

    def normal_back(self, grad: Tensor, w: Tensor, stream: Tensor, g: Tensor, copy: Tensor) -> None:
        """Adds to g what comes from y w^T through the norm; `copy` gets g in the compute precision."""
        dy = grad @ w
        sizes = *stream.shape, self.eps, is_bfloat(dy), is_bfloat(copy)
        native.call("normal_backward", stream, dy, None, None, g, copy, *sizes)

    def to_weight(self, total: Grad, grad: Tensor, x: Tensor) -> Tensor:
        """total + grad^T x, of y = x w^T."""
        part = grad.T @ x
        if total is None:
            return part
        total = total.float()
        native.call("add_part", total, part, part.numel(), is_bfloat(part))
        return total

    def mlp(self, x: Tensor, w: Weights, stream: Tensor, scale: Grad) -> tuple[Tensor, Tensor, Tensor]:
        """`add_normal` of silu(gate) up with [gate, up] = x w.gate_up^T, and [gate, up]."""
        z = F.linear(x, w.gate_up)
        opened = torch.empty(len(z), w.down.shape[1], dtype=self.kind)
        native.call("gated_forward", z, opened, *opened.shape, is_bfloat(opened))
        return *self.add_normal(opened, w.down, None, stream, scale), z

    def mlp_back(
        self, x: Tensor, w: Weights, stream: Tensor, z: Grad, g: Tensor, copy: Tensor, totals: tuple[Grad, Grad]
    ) -> tuple[Tensor, Tensor]:
        """`normal_back` of it, from `copy` of before, and the totals of the gradients of w.gate_up and w.down."""
        assert z is not None
        dy, dz = copy @ w.down, torch.empty_like(z)
        opened = torch.empty_like(dy)
        native.call("gated_backward", z, dy, dz, opened, *dy.shape, is_bfloat(dy))
        found = self.to_weight(totals[0], dz, x), self.to_weight(totals[1], copy, opened)
        self.normal_back(dz, w.gate_up, stream, g, copy)
        return found


class Together:
    """Weights are packed once for all rows."""

    def __init__(self, eps: float) -> None:
        self.eps: float = eps
        self.packed: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def factor(self, w: Tensor, turned: bool) -> Tensor:
        """For x w^T if turned, else for x w; kept with w, whose address is then nobody else's."""
        found = self.packed.get((w.data_ptr(), turned))
        if found is None:
            inner, columns = w.shape[::-1] if turned else w.shape
            found = w, pack("b", w, columns, inner, turned, w[:0, 0])
            self.packed[w.data_ptr(), turned] = found
        return found[1]

    def linear(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        return self.plain(x, self.factor(w, True), bias, len(w))

    def linear_back(self, grad: Tensor, w: Tensor) -> Tensor:
        return self.plain(grad, self.factor(w, False), None, w.shape[1])

    def plain(self, x: Tensor, factor: Tensor, bias: Tensor | None, columns: int) -> Tensor:
        y = torch.empty(len(x), columns, dtype=x.dtype)
        native.run("linear", x, factor, None if bias is None else bias.float(), y, *x.shape, columns)
        return y

    def add_normal(
        self, x: Tensor, w: Tensor, bias: Tensor | None, stream: Tensor, scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out, y, factor = torch.empty_like(stream), normalised(stream, x.dtype, scale), self.factor(w, True)
        wide = None if bias is None else bias.float()
        sizes = *x.shape, stream.shape[1], self.eps, int(scale is not None)
        native.run("linear_normal", x, factor, wide, stream, out, scale, y, *sizes)
        return out, y

    def normal_back(self, grad: Tensor, w: Tensor, stream: Tensor, g: Tensor, copy: Tensor) -> None:
        native.run(
            "linear_normal_back", grad, self.factor(w, False), stream, g, copy, *grad.shape, w.shape[1], self.eps
        )

    def to_weight(self, total: Grad, grad: Tensor, x: Tensor) -> Tensor:
        left, right = self.turned(grad), self.upright(x)
        return self.summed(total, left, right, (grad.shape[1], x.shape[1]), len(x))

    def turned(self, grad: Tensor) -> Tensor:
        """grad^T as the first factor."""
        return pack("a", grad, grad.shape[1], len(grad), True, grad[:0, 0])

    def upright(self, x: Tensor) -> Tensor:
        return pack("b", x, x.shape[1], len(x), False, x[:0, 0])

    def summed(self, total: Grad, left: Tensor, right: Tensor, shape: tuple[int, int], inner: int) -> Tensor:
        out = torch.empty(shape) if total is None else total
        multiply(out, left, right, inner, add=total is not None)
        return out

    def mlp(self, x: Tensor, w: Weights, stream: Tensor, scale: Grad) -> tuple[Tensor, Tensor, None]:
        out, y = torch.empty_like(stream), normalised(stream, x.dtype, scale)
        factors, sizes = (self.factor(w.gate_up, True), self.factor(w.down, True)), (*x.shape, w.down.shape[1])
        native.run("mlp_forward", x, *factors, stream, out, scale, y, *sizes, self.eps, int(scale is not None))
        return out, y, None

    def mlp_back(
        self, x: Tensor, w: Weights, stream: Tensor, _: Grad, g: Tensor, copy: Tensor, totals: tuple[Grad, Grad]
    ) -> tuple[Tensor, Tensor]:
        """Makes [gate, up] once more, which is quicker than to keep it."""
        rows, mlp = whole(len(x)), w.down.shape[1]
        dz, opened = (x.new_empty(rows * columns) for columns in (2 * mlp, mlp))
        left, right = self.turned(copy), self.upright(x)
        factors = self.factor(w.gate_up, True), self.factor(w.down, False), self.factor(w.gate_up, False)
        native.run("mlp_backward", x, copy, *factors, stream, g, dz, opened, *x.shape, mlp, self.eps)
        up = self.summed(totals[0], dz, right, (2 * mlp, x.shape[1]), rows)
        return up, self.summed(totals[1], left, opened, (copy.shape[1], mlp), rows)


def normalised(stream: Tensor, kind: torch.dtype, scale: Tensor | None) -> Tensor:
    """Room for it."""
    return torch.empty(stream.shape, dtype=kind if scale is None else torch.float32)


def whole(rows: int) -> int:
    return -(-rows // BLOCK) * BLOCK
