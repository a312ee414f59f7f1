"""Triton kernels for what lies between two matrix products: a tile of logits is read once and written at most once.

A tile is [rows, columns] of hidden @ weight.T, its columns being `start` onwards of the vocabulary; sums are float32.
"""

# pyright: reportGeneralTypeIssues=false
# Outside a kernel a call of a Triton function never returns; pyright takes the calls between kernels for such.

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096  # logits that one program holds
WARPS = 8
LOWEST = tl.constexpr(-1e30)  # for -inf where it would meet a zero


class Softmax(NamedTuple):
    """pi = softmax(cap(logits + bias) / temperature)."""

    temperature: float = 1.0
    cap: float | None = None
    bias: Tensor | None = None  # float32, of the whole vocabulary

    def constants(self) -> tuple[float, float, bool, bool]:
        """cap, inverse, BIASED and CAPPED of the kernels."""
        return self.cap or 0.0, 1 / self.temperature, self.bias is not None, self.cap is not None


class Statistics(NamedTuple):
    """Per token, float32."""

    logprob: Tensor
    entropy: Tensor
    s2: Tensor
    s2l: Tensor
    top: Tensor  # max z
    log_sum: Tensor  # log sum_v e^(z - top)


@triton.jit
def bend(x, bias, column, inside, cap, inverse, BIASED: tl.constexpr, CAPPED: tl.constexpr):
    """z = cap tanh((x + bias) / cap) / temperature, and dz/dx."""
    slope = inverse
    if BIASED:
        x += tl.load(bias + column, mask=inside, other=0.0)
    if CAPPED:
        t = 1 - 2 / (1 + tl.exp(2 * x / cap))
        x, slope = cap * t, slope * (1 - t * t)
    return x * inverse, slope


@triton.jit
def add_tile_kernel(
    logits, bias, target, state, rows, columns, start, cap, inverse,
    BIASED: tl.constexpr, CAPPED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program per row: m = max z, S_k = sum e^{k(z - m)} and T_k = sum e^{k(z - m)} (z - m) go on from `state`."""
    row = tl.program_id(0).to(tl.int64)
    m, s1, t1 = tl.load(state + row), tl.load(state + rows + row), tl.load(state + 2 * rows + row)
    s2, t2 = tl.load(state + 3 * rows + row), tl.load(state + 4 * rows + row)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < columns
        x = tl.load(logits + row * columns + column, mask=inside, other=0.0).to(tl.float32)
        z, _ = bend(x, bias, start + column, inside, cap, inverse, BIASED, CAPPED)
        z = tl.where(inside, z, float("-inf"))
        top = tl.maximum(m, tl.max(z, 0))
        fall = tl.maximum(m - top, LOWEST)
        r = tl.exp(fall)
        d = z - top
        e = tl.exp(d)
        d = tl.maximum(d, LOWEST)  # 0 log 0 = 0
        ed = e * d
        t1, s1 = r * (t1 + fall * s1) + tl.sum(ed, 0), r * s1 + tl.sum(e, 0)
        t2, s2 = r * r * (t2 + fall * s2) + tl.sum(e * ed, 0), r * r * s2 + tl.sum(e * e, 0)
        m = top
    tl.store(state + row, m)
    tl.store(state + rows + row, s1)
    tl.store(state + 2 * rows + row, t1)
    tl.store(state + 3 * rows + row, s2)
    tl.store(state + 4 * rows + row, t2)
    chosen = tl.load(target + row) - start
    here = (chosen >= 0) & (chosen < columns)
    x = tl.load(logits + row * columns + chosen, mask=here, other=0.0).to(tl.float32)
    z, _ = bend(x, bias, start + chosen, here, cap, inverse, BIASED, CAPPED)
    tl.store(state + 5 * rows + row, z, mask=here)


@triton.jit
def gradient_kernel(
    logits, bias, target, top, log_sum, entropy, g1, g2, out, columns, start, cap, inverse,
    BIASED: tl.constexpr, CAPPED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d loss / d logits = [pi (-g1 - g2 (l + H)) + g1 1(target)] dz/dx with l = log pi; `out` may be `logits`."""
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    x = tl.load(logits + row * columns + column, mask=inside, other=0.0).to(tl.float32)
    z, slope = bend(x, bias, start + column, inside, cap, inverse, BIASED, CAPPED)
    l = z - tl.load(top + row) - tl.load(log_sum + row)
    a, b, h = tl.load(g1 + row), tl.load(g2 + row), tl.load(entropy + row)
    dz = tl.exp(l) * (-a - b * (tl.maximum(l, LOWEST) + h))
    dz += tl.where(start + column == tl.load(target + row), a, 0.0)
    tl.store(out + row * columns + column, (dz * slope).to(out.dtype.element_ty), mask=inside)


def begin(rows: int, device: torch.device) -> Tensor:
    """m, S1, T1, S2, T2 and z(target) of no logits yet, [6, rows]; a target outside the vocabulary stays NaN."""
    state = torch.zeros(6, rows, device=device)
    state[0], state[5] = LOWEST.value, torch.nan
    return state


def add_tile(state: Tensor, logits: Tensor, target: Tensor, start: int, how: Softmax) -> None:
    """Takes columns `start` onwards into the running sums."""
    (rows, columns), block = logits.shape, fitting(logits)
    if rows:
        kernel: Any = add_tile_kernel[(rows,)]
        inputs = dense(logits, how.bias, target)
        with torch.cuda.device_of(logits):
            kernel(*inputs, state, rows, columns, start, *how.constants(), block, num_warps=WARPS)


def finish(state: Tensor) -> Statistics:
    """log pi(a) = z_a - m - L, H = L - T1/S1, sum pi^2 = S2/S1^2, sum pi^2 log pi = (T2 - S2 L)/S1^2; L = log S1."""
    top, s1, t1, s2, t2, chosen = state
    log_sum, square = s1.log(), s1 * s1
    logprob, entropy, s2l = chosen - top - log_sum, log_sum - t1 / s1, (t2 - s2 * log_sum) / square
    return Statistics(logprob, entropy, s2 / square, s2l, top, log_sum)


def gradient_of_tile(
    logits: Tensor, target: Tensor, start: int, how: Softmax, s: Statistics, g1: Tensor, g2: Tensor, kind: torch.dtype
) -> Tensor:
    """d loss / d logits in the operands' precision; in place where that is the logits' own."""
    logits = logits.contiguous()
    (rows, columns), block = logits.shape, fitting(logits)
    out = logits if logits.dtype == kind else torch.empty_like(logits, dtype=kind)
    if rows:
        kernel: Any = gradient_kernel[(rows, triton.cdiv(columns, block))]
        inputs = dense(logits, how.bias, target, s.top, s.log_sum, s.entropy, g1.float(), g2.float())
        with torch.cuda.device_of(logits):
            kernel(*inputs, out, columns, start, *how.constants(), block, num_warps=WARPS)
    return out


def dense(*tensors: Tensor | None) -> list[Tensor | None]:
    """The kernels know no strides."""
    return [None if x is None else x.contiguous() for x in tensors]


def fitting(logits: Tensor) -> int:
    return min(BLOCK, 1 << (logits.shape[1] - 1).bit_length())
