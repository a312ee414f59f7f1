"""`score` on a GPU: products by cuBLAS a tile of logits at a time, everything between them by `epilogue.py`.

Operands keep their precision (or take `compute`); logits, statistics and both gradients are summed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm.tokens.epilogue import Softmax, Statistics, add_tile, begin, finish, gradient_of_tile

Coefficients = Callable[[Statistics, slice], tuple[Tensor, Tensor]]  # of some rows -> their g1, g2

TILE = 1 << 25  # logits held at once where they are computed twice: 134 MB in float32
WHOLE = 1 << 28  # where they are computed once, so that rows must be whole: 1.1 GB
MULTIPLE = 128  # of rows and columns of a tile: what tensor cores and wide loads like
ROWS = 8192


class Gradients(NamedTuple):
    """float32."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None


def cuts(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def rounded(size: int) -> int:
    return max(MULTIPLE, size // MULTIPLE * MULTIPLE)


@torch.no_grad()
def statistics(hidden: Tensor, weight: Tensor, target: Tensor, how: Softmax) -> Statistics:
    """Of all rows, by one product (G)."""
    state = [running(hidden[cut], weight, target[cut], how) for cut in cuts(len(hidden), ROWS)]
    return finish(torch.cat(state, 1) if state else begin(0, hidden.device))


def running(hidden: Tensor, weight: Tensor, target: Tensor, how: Softmax) -> Tensor:
    state = begin(len(hidden), hidden.device)
    for cut in cuts(len(weight), rounded(TILE // len(hidden))):
        add_tile(state, product(hidden, weight[cut]), target, cut.start, how)
    return state


@torch.no_grad()
def gradients(
    hidden: Tensor, weight: Tensor, target: Tensor, how: Softmax, found: Statistics, g1: Tensor, g2: Tensor
) -> Gradients:
    """Of sum_t g1 log pi(target) + g2 H for any g1 and g2, from logits computed again: 3 G."""
    total = zeros(hidden, weight, how)
    for rows in cuts(len(hidden), ROWS):
        part = Statistics(*(x[rows] for x in found))
        for columns in cuts(len(weight), rounded(TILE // (rows.stop - rows.start))):
            logits = product(hidden[rows], weight[columns])
            dz = gradient_of_tile(logits, target[rows], columns.start, how, part, g1[rows], g2[rows], weight.dtype)
            add_gradient(total, dz, hidden, weight, rows, columns)
            del logits, dz  # before the next tile is asked for
    return total


@torch.no_grad()
def statistics_and_gradients(
    hidden: Tensor, weight: Tensor, target: Tensor, how: Softmax, coefficients: Coefficients
) -> tuple[Statistics, Gradients]:
    """Gradient in forward, 3 G in all: where a row's g1 and g2 depend on its own statistics and on constants alone."""
    total, parts = zeros(hidden, weight, how), []
    for rows in cuts(len(hidden), rounded(WHOLE // len(weight))):
        logits, state = product(hidden[rows], weight), begin(rows.stop - rows.start, hidden.device)
        add_tile(state, logits, target[rows], 0, how)
        parts.append(finish(state))
        g1, g2 = coefficients(parts[-1], rows)
        dz = gradient_of_tile(logits, target[rows], 0, how, parts[-1], g1, g2, weight.dtype)
        add_gradient(total, dz, hidden, weight, rows, slice(0, len(weight)))
        del logits, dz
    columns = zip(*(parts or [finish(begin(0, hidden.device))]), strict=True)
    return Statistics(*(torch.cat(column) for column in columns)), total


def product(hidden: Tensor, weight: Tensor) -> Tensor:
    """Logits in float32, whatever the operands are."""
    if hidden.is_cuda and hidden.dtype != torch.float32:
        return torch.mm(hidden, weight.T, out_dtype=torch.float32)
    return hidden.float() @ weight.float().T


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b; rounding each tile's product to bfloat16 would cost two digits."""
    if a.is_cuda and a.dtype != torch.float32:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(a.float(), b.float())


def zeros(hidden: Tensor, weight: Tensor, how: Softmax) -> Gradients:
    kind = torch.float32
    bias = None if how.bias is None else torch.zeros_like(how.bias)
    return Gradients(torch.zeros_like(hidden, dtype=kind), torch.zeros_like(weight, dtype=kind), bias)


def add_gradient(total: Gradients, dz: Tensor, hidden: Tensor, weight: Tensor, rows: slice, columns: slice) -> None:
    add_product(total.hidden[rows], dz, weight[columns])
    add_product(total.weight[columns], dz.T, hidden[rows])
    if total.bias is not None:
        total.bias[columns] += dz.sum(0, dtype=torch.float32)


class ScoreOnGPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, target, temperature, cap, compute):
        kind = compute or torch.promote_types(hidden.dtype, weight.dtype)
        how = Softmax(temperature, cap, None if bias is None else bias.float())
        found = statistics(hidden.to(kind), weight.to(kind), target, how)
        ctx.save_for_backward(hidden, weight, bias, target, *found)
        ctx.kind, ctx.how = kind, how._replace(bias=None)
        ctx.mark_non_differentiable(found.s2, found.s2l)
        return found[:4]

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, bias, target, *found = ctx.saved_tensors
        how = ctx.how._replace(bias=None if bias is None else bias.float())
        total = gradients(hidden.to(ctx.kind), weight.to(ctx.kind), target, how, Statistics(*found), grads[0], grads[1])
        grad_bias = None if bias is None or total.bias is None else total.bias.to(bias.dtype)
        return total.hidden.to(hidden.dtype), total.weight.to(weight.dtype), grad_bias, None, None, None, None


def score_on_gpu(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    temperature: float = 1.0,
    cap: float | None = None,
    compute: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log pi(target), H, S2 and S2L, the first two differentiable; `compute` is the precision of the operands."""
    return ScoreOnGPU.apply(hidden, weight, bias, target, temperature, cap, compute)  # pyright: ignore[reportReturnType]
