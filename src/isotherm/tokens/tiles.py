"""Token statistics and their gradient over tiles [rows, words] of the logits, with the compiled functions.

Forward: m, S_k = sum e^{k (x - m)} and T_k = sum e^{k (x - m)} (x - m), tile after tile; all statistics come from them.
Backward: each tile is multiplied again, becomes dz where it stands, and goes into the sums of both gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm import native
from isotherm.tokens.products import Exact, Short, short_products

ROWS, WORDS = 2048, 640  # of a tile: 5 MB
WIDER = 1280  # words where a tile never leaves the cache, and so is as high as that allows
PAD = 16  # numbers after each row, without which the rows of a tile would fall on the same places of a cache


class Head(NamedTuple):
    """x = cap(h weight^T + bias) / temperature, in products of float32 or, where `short`, of bfloat16."""

    weight: Tensor
    bias: Tensor | None
    cap: float | None
    temperature: float
    short: bool


class Known(NamedTuple):
    """Of each row, after all its words have been seen."""

    m: Tensor
    log_s: Tensor
    logprob: Tensor
    entropy: Tensor
    s2: Tensor
    s2l: Tensor


def is_short(hidden: Tensor, weight: Tensor, compute: torch.dtype | None) -> bool:
    """Whether the products are of bfloat16: where both factors are, or on request, if the processor can."""
    both = hidden.dtype == weight.dtype == torch.bfloat16
    return (both if compute is None else compute == torch.bfloat16) and short_products() > 0


def fits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the compiled functions can take these."""
    kinds = {x.dtype for x in (hidden, weight, bias) if x is not None}
    return kinds <= {torch.float32, torch.bfloat16} and native.fits(hidden, weight, bias)


def cuts(count: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


def size(cut: slice) -> int:
    return cut.stop - cut.start


class Work:
    """A head at work on some hidden states."""

    def __init__(self, hidden: Tensor, target: Tensor, head: Head) -> None:
        self.head, self.target = head, target
        self.factors = (Short if head.short else Exact)(hidden, head.weight)
        self.rows, self.vocabulary = len(hidden), len(head.weight)
        self.whole = head.short and short_products() == 2 and head.bias is None and head.cap is None
        self.words = WIDER if self.whole else WORDS
        self.room = torch.empty(0)
        self.rest = torch.zeros(self.rows)  # of dz at the target: what rounding to bfloat16 took

    def empty(self, rows: slice, *cuts: slice) -> list[Tensor]:
        """Room for tiles of some rows, one for each cut of the words; later ones take the same room."""
        pad = PAD if self.head.short else 0
        counts = [size(rows) * (size(words) + pad) for words in cuts]
        if len(self.room) < sum(counts):
            self.room = torch.empty(sum(counts))
        parts = self.room[: sum(counts)].split(counts)
        return [part.view(size(rows), -1)[:, : size(words)] for part, words in zip(parts, cuts, strict=True)]

    def tile(self, rows: slice, words: slice) -> Tensor:
        return self.multiply(self.empty(rows, words)[0], rows, words)

    def multiply(self, tile: Tensor, rows: slice, words: slice) -> Tensor:
        """The logits of a tile, under the cap where there is one."""
        bias, cap = self.head.bias, self.head.cap
        self.factors.logits(tile, rows, words)
        if bias is not None:
            tile.add_(bias[words])
        if cap is not None:
            tile.div_(cap).tanh_().mul_(cap)
        return tile

    def gather(self, state: Tensor, tile: Tensor, rows: slice, words: slice) -> None:
        slope = 1.0 / self.head.temperature
        native.call("score_gather", state, tile, *tile.shape, tile.stride(0), self.target[rows], words.start, slope)

    def gather_product(self, state: Tensor, rows: slice, words: slice) -> None:
        """`gather` of a tile that never leaves the cache."""
        f, slope = self.factors, 1.0 / self.head.temperature
        assert isinstance(f, Short)
        sizes = f.steps, size(rows), size(words)
        native.run(
            "score_gather_product", state, f.left(rows), f.right(words), *sizes, self.target[rows], words.start, slope
        )

    def turn_product(
        self, hidden: Tensor | None, coefficients: Tensor, rows: slice, words: slice, wanted: bool
    ) -> Tensor | None:
        """dh += dz W; dz^T as a packed factor where it is wanted. dz itself never leaves the cache."""
        f, numbers = self.factors, (self.target[rows], self.rest[rows], words.start, 1.0 / self.head.temperature)
        assert isinstance(f, Short)
        turned = f.fresh(words, rows) if wanted else None
        sizes = f.steps, size(rows), size(words), f.hidden.shape[1]
        back = None if hidden is None else f.back(words)
        into = None if hidden is None else hidden[rows]
        factors = into, turned, f.left(rows), f.right(words), back
        native.run("score_gradient_product", *factors, *sizes, coefficients, *numbers)
        return turned

    def turn(self, tile: Tensor, coefficients: Tensor, rows: slice, words: slice) -> Tensor:
        """z <- dz, in bfloat16 where the products are."""
        h, place = self.head, (*tile.shape, tile.stride(0))
        numbers = self.target[rows], self.rest[rows], words.start, 1.0 / h.temperature, float(h.cap or 0)
        native.call("score_gradient", tile, int(h.short), *place, coefficients, *numbers)
        return self.factors.slopes(tile)


def fresh(rows: int) -> Tensor:
    """The state of rows of which nothing has been seen: m, S_1, T_1, S_2, T_2, x of the target."""
    state = torch.zeros(rows, 6, dtype=torch.float64)
    state[:, 0] = -torch.inf
    return state


def known(state: Tensor) -> Known:
    """H = log S_1 - T_1 / S_1, S2 = S_2 / S_1^2, S2L = (T_2 - log S_1 S_2) / S_1^2."""
    m, s1, t1, s2, t2, chosen = state.unbind(1)
    log_s, square = s1.log(), s1 * s1
    values = m, log_s, chosen - m - log_s, (log_s - t1 / s1).clamp_min(0), s2 / square, (t2 - log_s * s2) / square
    return Known(*(x.float() for x in values))


def coefficients(now: Known, g1: Tensor, g2: Tensor) -> Tensor:
    """What dz of a row needs, [rows, 5]."""
    return torch.stack((now.m, now.log_s, now.entropy, g1.float(), g2.float()), 1)


class Sums:
    """The gradients as they grow, never below float32."""

    def __init__(self, hidden: Tensor, head: Head, wanted: tuple[bool, ...], weight: torch.dtype | None = None) -> None:
        kind = torch.promote_types(head.weight.dtype, torch.float32)
        start = torch.empty_like if len(hidden) else torch.zeros_like  # the first rows write a word's gradient
        self.kinds = hidden.dtype, head.weight.dtype, None if head.bias is None else head.bias.dtype
        self.hidden = torch.zeros_like(hidden, dtype=kind) if wanted[0] else None
        self.weight = start(head.weight, dtype=weight or kind) if wanted[1] else None
        self.bias = torch.zeros_like(head.bias, dtype=kind) if head.bias is not None and wanted[2] else None

    def add(self, work: Work, dz: Tensor, rows: slice, words: slice, part: Tensor | None) -> None:
        """`part` is the sum of dW of these words."""
        if self.hidden is not None:
            work.factors.to_hidden(self.hidden, dz, rows, words)
        if part is not None:
            work.factors.to_weight(part, dz, rows)
        if self.bias is not None:
            self.bias[words] += dz.sum(0, dtype=self.bias.dtype)
        if work.head.short:
            self.add_rest(work, rows, words, part)

    def add_product(self, work: Work, numbers: Tensor, rows: slice, words: slice, part: Tensor | None) -> None:
        """`Work.turn` and `add` of a tile that never leaves the cache."""
        turned = work.turn_product(self.hidden, numbers, rows, words, part is not None)
        if turned is not None and part is not None:
            assert isinstance(work.factors, Short)
            work.factors.turned_to_weight(part, turned, rows)
        self.add_rest(work, rows, words, part)

    def add_rest(self, work: Work, rows: slice, words: slice, part: Tensor | None) -> None:
        """rest W[target] and rest h, of the targets among these words."""
        target = work.target[rows]
        here = ((target >= words.start) & (target < words.stop)).nonzero().squeeze(1)
        row, word = here + rows.start, target[here]
        rest = work.rest[row][:, None]
        if self.hidden is not None:
            self.hidden.index_add_(0, row, rest * work.factors.weight[word])
        if part is not None:
            part.index_add_(0, word - words.start, rest * work.factors.hidden[row])
        if self.bias is not None:
            self.bias.index_add_(0, word, rest[:, 0])

    def found(self) -> tuple[Tensor | None, ...]:
        grads = self.hidden, self.weight, self.bias
        return tuple(None if g is None else g.to(kind) for g, kind in zip(grads, self.kinds, strict=True))


def seen(hidden: Tensor, target: Tensor, head: Head) -> Known:
    """The statistics, from one product."""
    work, state = Work(hidden, target, head), fresh(len(hidden))
    for words in cuts(work.vocabulary, work.words):
        for rows in cuts(work.rows, ROWS):
            if work.whole:
                work.gather_product(state[rows], rows, words)
            else:
                work.gather(state[rows], work.tile(rows, words), rows, words)
    return known(state)


class TileFunction(torch.autograd.Function):
    """Any upstream gradient of log-prob and entropy; six numbers per row are kept for it."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, target, head):
        now = seen(hidden, target, head)
        ctx.save_for_backward(hidden, weight, bias, target, *now)
        ctx.head = head
        ctx.mark_non_differentiable(now.s2, now.s2l)
        return now[2:]

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, bias, target, *now = ctx.saved_tensors
        pair = (torch.zeros(len(hidden)) if g is None else g for g in grads[:2])
        head = ctx.head._replace(weight=weight, bias=bias)
        numbers = coefficients(Known(*now), *pair)
        live = (numbers[:, 3:] != 0).any(1).nonzero().squeeze(1)
        if len(live) == len(hidden):
            return *turned_back(hidden, target, numbers, head, ctx.needs_input_grad), None, None
        parts = turned_back(hidden[live], target[live], numbers[live], head, ctx.needs_input_grad)
        spread = None if parts[0] is None else torch.zeros_like(hidden).index_copy_(0, live, parts[0])
        return spread, *parts[1:], None, None


def turned_back(
    hidden: Tensor, target: Tensor, numbers: Tensor, head: Head, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """dh, dW and db. Words outside, rows inside: a word's dW is whole before the next word, dh after the last."""
    work, sums = Work(hidden, target, head), Sums(hidden, head, wanted, head.weight.dtype)
    for words in cuts(work.vocabulary, work.words):
        part = None if sums.weight is None else sums.weight[words].float()  # itself where it is float32
        for rows in cuts(work.rows, ROWS):
            if work.whole:
                sums.add_product(work, numbers[rows], rows, words, part)
            else:
                sums.add(work, work.turn(work.tile(rows, words), numbers[rows], rows, words), rows, words, part)
        if sums.weight is not None and part is not None and sums.weight.dtype != part.dtype:
            sums.weight[words] = part
    return sums.found()
