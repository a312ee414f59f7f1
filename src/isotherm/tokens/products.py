"""The three products of a head, cut by rows and by words of the vocabulary: logits, and the gradients of both factors.

`Exact` multiplies in float32 with torch. `Short` rounds the factors to bfloat16 and sums in float32, in C: no logit and
no sum over words is ever rounded to bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm import native

BLOCK = 32  # to which packed factors are filled up with zeros
fastest = 2  # kind of bfloat16 product, see `native/product.c`; tests lower it


def short_products() -> int:
    """How this processor multiplies bfloat16: 2 in tiles, 1 in vectors, 0 not at all."""
    return native.call("product_kind", fastest) if native.on() else 0


class Exact:
    """dz takes the place of the logits."""

    def __init__(self, hidden: Tensor, weight: Tensor) -> None:
        self.hidden, self.weight = hidden, weight

    def logits(self, out: Tensor, rows: slice, words: slice) -> None:
        """z = h W^T."""
        torch.mm(self.hidden[rows].to(out.dtype), self.weight[words].to(out.dtype).T, out=out)

    def slopes(self, tile: Tensor) -> Tensor:
        """Where dz is after `score_gradient` has gone over a tile."""
        return tile

    def to_hidden(self, grad: Tensor, dz: Tensor, rows: slice, words: slice) -> None:
        """dh += dz W."""
        grad[rows].addmm_(dz, self.weight[words].to(dz.dtype))

    def to_weight(self, grad: Tensor, dz: Tensor, rows: slice) -> None:
        """dW += dz^T h, of the words of dz; the first rows write it."""
        torch.addmm(grad, dz.T, self.hidden[rows].to(dz.dtype), beta=int(rows.start > 0), out=grad)


class Short:
    """dz is bfloat16 and takes the first half of each row of the logits."""

    def __init__(self, hidden: Tensor, weight: Tensor) -> None:
        self.hidden, self.weight = hidden.detach(), weight.detach()
        self.packed: dict[str, tuple[slice, Tensor]] = {}
        self.room = torch.empty(0, dtype=torch.bfloat16)  # of dz
        self.steps = -(-hidden.shape[1] // BLOCK)

    def once(self, name: str, cut: slice, x: Tensor, rows: int, inner: int, turned: bool) -> Tensor:
        """A packed factor, kept until another cut of it is asked for; `name` begins with its side, a or b."""
        cached = self.packed.get(name)
        if cached is None or cached[0] != cut:
            room = cached[1] if cached else torch.empty(0, dtype=torch.bfloat16)
            cached = self.packed[name] = cut, pack(name[0], x, rows, inner, turned, room)
        return cached[1]

    def logits(self, out: Tensor, rows: slice, words: slice) -> None:
        inner = self.hidden.shape[1]
        multiply(out, self.left(rows), self.right(words), inner, add=False)

    def left(self, rows: slice) -> Tensor:
        """h of some rows: part of all that was packed, where they begin at a whole block."""
        h = self.hidden
        if rows.start % BLOCK:
            return self.once("a some", rows, h[rows], rows.stop - rows.start, h.shape[1], False)
        packed = self.once("a hidden", slice(0, len(h)), h, len(h), h.shape[1], False)
        return packed[rows.start * self.steps * BLOCK :]

    def fresh(self, words: slice, rows: slice) -> Tensor:
        """Room for dz^T as a packed first factor."""
        size = -(-(words.stop - words.start) // BLOCK) * -(-(rows.stop - rows.start) // BLOCK) * BLOCK * BLOCK
        if len(self.room) < size:
            self.room = torch.empty(size, dtype=torch.bfloat16)
        return self.room

    def right(self, words: slice) -> Tensor:
        """W^T of some words."""
        w = self.weight[words]
        return self.once("b words", words, w, len(w), w.shape[1], True)

    def back(self, words: slice) -> Tensor:
        """W of some words."""
        w = self.weight[words]
        return self.once("b weight", words, w, w.shape[1], len(w), False)

    def slopes(self, tile: Tensor) -> Tensor:
        return tile.view(torch.bfloat16)[:, : tile.shape[1]]

    def to_hidden(self, grad: Tensor, dz: Tensor, rows: slice, words: slice) -> None:
        n = dz.shape[1]
        self.room = pack("a", dz, len(dz), n, False, self.room)
        multiply(grad[rows], self.room, self.back(words), n, add=True)

    def to_weight(self, grad: Tensor, dz: Tensor, rows: slice) -> None:
        self.room = pack("a", dz, dz.shape[1], len(dz), True, self.room)
        self.turned_to_weight(grad, self.room, rows)

    def turned_to_weight(self, grad: Tensor, dz: Tensor, rows: slice) -> None:
        """The same, of dz^T as a packed first factor."""
        h = self.hidden[rows]
        b = self.once(f"b hidden {rows.start}", rows, h, h.shape[1], len(h), False)
        multiply(grad, dz, b, len(h), add=rows.start > 0)


def pack(side: str, x: Tensor, rows: int, inner: int, turned: bool, room: Tensor) -> Tensor:
    """x [rows, inner] as blocks of factor a, or x [inner, rows] as panels of b; the other way round with `turned`."""
    size = -(-rows // BLOCK) * -(-inner // BLOCK) * BLOCK * BLOCK
    out = room if len(room) >= size else torch.empty(size, dtype=torch.bfloat16)
    sizes = (rows, inner) if side == "a" else (inner, rows)
    native.call(f"product_pack_{side}", out, x, int(x.dtype == torch.float32), x.stride(0), *sizes, int(turned))
    return out


def multiply(out: Tensor, a: Tensor, b: Tensor, inner: int, add: bool) -> None:
    native.call("product", out, out.stride(0), a, b, *out.shape, inner, int(add), fastest)
