"""The gradient in the forward pass, for a loss that is a sum over tokens once all that belongs to the batch is decided.

Rows whose logits fit into memory together are multiplied once: statistics, loss, dz where the logits stand, products.
Those are three in all, where a backward pass that makes the logits again takes four.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from isotherm.tokens import tiles
from isotherm.tokens.products import BLOCK, short_products
from isotherm.tokens.score import Functional, Options, Scores, capped_log_softmax, product, slopes_of, statistics

Local = Callable[[slice, Scores], Tensor]  # (rows, their scores) -> loss, a sum over these rows
Functionals = Mapping[str, Functional]
Found = tuple[Tensor, tuple[Tensor, ...], tuple[Tensor | None, ...]]  # loss, four columns and functionals, gradients
ROWS, CHUNK = 384, 4_000_000  # at least so many rows together, and more where their logits are no more than these
WORDS = 1024  # of bfloat16 products


def score_with_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    local: Local,
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,
    cap: float | None = None,
    functionals: Functionals | None = None,
    compute: torch.dtype | None = None,
) -> tuple[Tensor, Scores]:
    """The loss, whose backward pass only hands out gradients that are there, and the scores without a graph.

    `local` is called on chunks of rows with differentiable log-prob, entropy, functionals; the rest is as in `score`.
    Functionals need the log-probabilities of the whole vocabulary, so with them torch makes both.

    >>> h, w = torch.zeros(1, 2), torch.ones(4, 2, requires_grad=True)
    >>> float(score_with_loss(h, w, torch.tensor([3]), lambda rows, s: -s.logprob.sum())[0])
    1.3862943649291992
    """
    wanted = dict(functionals or {})
    short = not wanted and tiles.fits(hidden, weight, bias) and tiles.is_short(hidden, weight, compute)
    head = tiles.Head(weight, bias, cap, float(temperature), short)
    total, *columns = LocalFunction.apply(hidden, weight, bias, target, head, local, wanted)
    return total, named(columns, wanted)


def named(columns: Sequence[Tensor], functionals: Functionals) -> Scores:
    logprob, entropy, s2, s2l, *extra = columns
    return Scores(logprob, entropy, s2, s2l, dict(zip(functionals, extra, strict=True)))


class LocalFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, target, head, local, functionals):
        way = again if head.short and short_products() == 2 else partial(chunked, functionals=functionals)
        total, columns, found = way(hidden, target, head, local, ctx.needs_input_grad)
        ctx.save_for_backward(*found)
        ctx.mark_non_differentiable(*columns)
        return total, *columns

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        scale = grads[0]
        found = (g if g is None or float(scale) == 1 else g * scale.to(g.dtype) for g in ctx.saved_tensors)
        return *found, None, None, None, None


def again(hidden: Tensor, target: Tensor, head: tiles.Head, local: Local, wanted: tuple[bool, ...]) -> Found:
    """Where bfloat16 products are so fast that to read the weight again and again costs more than a fourth product."""
    now = tiles.seen(hidden, target, head)
    loss, *pair = slopes(now[2:], slice(0, len(hidden)), local)
    return loss, now[2:], tiles.turned_back(hidden, target, tiles.coefficients(now, *pair), head, wanted)


def chunked(
    hidden: Tensor, target: Tensor, head: tiles.Head, local: Local, wanted: tuple[bool, ...], functionals: Functionals
) -> Found:
    work, sums = tiles.Work(hidden, target, head), tiles.Sums(hidden, head, wanted)
    fits = not functionals and tiles.fits(hidden, head.weight, head.bias)
    chunk = compiled if fits else partial(plain, functionals=functionals)
    count = max(1, math.ceil(work.rows / max(ROWS, CHUNK // work.vocabulary)))
    rows = max(1, math.ceil(work.rows / count))
    rows = math.ceil(rows / BLOCK) * BLOCK if head.short else rows
    parts = [chunk(work, sums, hidden, cut, local) for cut in tiles.cuts(work.rows, rows)]
    if not parts:
        return torch.zeros(()), tuple(torch.zeros(4 + len(functionals), 0)), sums.found()
    columns = tuple(torch.cat(column) for column in zip(*(c for _, c in parts), strict=True))
    return torch.stack([loss for loss, _ in parts]).sum(), columns, sums.found()


def compiled(
    work: tiles.Work, sums: tiles.Sums, hidden: Tensor, rows: slice, local: Local
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A chunk of rows in tiles that all stay: one where torch multiplies, else such as the cache holds."""
    state = tiles.fresh(tiles.size(rows))
    steps = list(tiles.cuts(work.vocabulary, WORDS if work.head.short else work.vocabulary))
    room = work.empty(rows, *steps)
    for tile, words in zip(room, steps, strict=True):
        work.gather(state, work.multiply(tile, rows, words), rows, words)
    now = tiles.known(state)
    loss, *pair = slopes(now[2:], rows, local)
    numbers = tiles.coefficients(now, *pair)
    for tile, words in zip(room, steps, strict=True):
        dz = work.turn(tile, numbers, rows, words)
        sums.add(work, dz, rows, words, None if sums.weight is None else sums.weight[words])
    return loss, now[2:]


def plain(
    work: tiles.Work, sums: tiles.Sums, hidden: Tensor, rows: slice, local: Local, functionals: Functionals
) -> tuple[Tensor, tuple[Tensor, ...]]:
    head, target, words = work.head, work.target[rows], slice(0, work.vocabulary)
    logits = product(hidden[rows], head.weight, head.bias)
    options = Options(head.temperature, head.cap, tuple(functionals.values()))
    logp = capped_log_softmax(logits, head.cap, head.temperature)
    columns = statistics(logp, target, options.functionals)
    loss, g1, g2, *rest = slopes(columns, rows, local, functionals)
    dz = slopes_of(logits, logp, target, [g1, g2 if g2.any() else None, None, None, *rest], options)
    sums.add(work, dz, rows, words, sums.weight)
    return loss, columns


def slopes(
    columns: tuple[Tensor, ...], rows: slice, local: Local, functionals: Functionals | None = None
) -> tuple[Tensor, ...]:
    """The loss of some rows, and its gradient with respect to their log-probs, entropies and functionals."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in (*columns[:2], *columns[4:])]
        loss = local(rows, named((*leaves[:2], *columns[2:4], *leaves[2:]), functionals or {}))
        grads = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None] * len(leaves)
    filled = (torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True))
    return loss.detach(), *filled
