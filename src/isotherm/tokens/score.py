"""Hidden states -> log-probability, exact entropy, the two moments of the entropy change: in float32 and in chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm.tokens import tiles

Functional = Callable[[Tensor], Tensor]  # log pi [rows, vocabulary] -> [rows]

CHUNK = 4_000_000  # logits held at once: 16 MB in float32


class Scores(NamedTuple):
    """Per token, in nats, at the given temperature."""

    logprob: Tensor  # log pi(target), differentiable
    entropy: Tensor  # H = -sum_v pi_v log pi_v over the whole vocabulary, differentiable
    s2: Tensor  # sum_v pi_v^2, detached
    s2l: Tensor  # sum_v pi_v^2 log pi_v, detached
    extra: dict[str, Tensor]  # the functionals asked for, differentiable


def score(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,
    cap: float | None = None,
    functionals: Mapping[str, Functional] | None = None,
    compute: torch.dtype | None = None,
) -> Scores:
    """Statistics of pi = softmax(cap(hidden @ weight.T + bias) / temperature) at each row.

    hidden [N, width], weight [vocabulary, width], target [N]. No [N, vocabulary] tensor exists: the logits come in
    tiles (`tokens/tiles.py`) or in chunks of rows, and the backward pass computes them again. Logits, statistics and
    sums are float32 at least. Factors in bfloat16 are multiplied as they are; compute = bfloat16 rounds others to it
    and float32 widens them. Where the processor cannot multiply bfloat16, everything is multiplied in float32.

    >>> s = score(torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([3]))
    >>> round(float(s.logprob), 4), round(float(s.entropy), 4)
    (-1.3863, 1.3863)
    """
    if not functionals and fits_gpu(hidden, weight):
        from isotherm.tokens.score_gpu import score_on_gpu

        return Scores(*score_on_gpu(hidden, weight, bias, target, float(temperature), cap, compute), {})
    if not functionals and tiles.fits(hidden, weight, bias):
        head = tiles.Head(weight, bias, cap, float(temperature), tiles.is_short(hidden, weight, compute))
        return Scores(*tiles.TileFunction.apply(hidden, weight, bias, target, head), {})  # pyright: ignore
    options = Options(float(temperature), cap, tuple((functionals or {}).values()))
    logprob, entropy, s2, s2l, *extra = ScoreFunction.apply(hidden, weight, bias, target, options)
    return Scores(logprob, entropy, s2, s2l, dict(zip(functionals or {}, extra, strict=True)))


def plain_score(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,
    cap: float | None = None,
    functionals: Mapping[str, Functional] | None = None,
) -> Scores:
    """The same in plain operations, through which forward differentiation passes."""
    options = Options(float(temperature), cap, tuple((functionals or {}).values()))
    logprob, entropy, s2, s2l, *extra = in_chunks(hidden, weight, bias, target, options)
    return Scores(logprob, entropy, s2, s2l, dict(zip(functionals or {}, extra, strict=True)))


def fits_gpu(*operands: Tensor) -> bool:
    """Whether the kernels can take these: float32 or bfloat16 on a GPU, and Triton is installed."""
    kinds = (torch.float32, torch.bfloat16)
    return all(x.is_cuda and x.dtype in kinds for x in operands) and find_spec("triton") is not None


class Options(NamedTuple):
    temperature: float
    cap: float | None
    functionals: tuple[Functional, ...]


def log_softmax(hidden: Tensor, weight: Tensor, bias: Tensor | None, cap: float | None, temperature: float) -> Tensor:
    """log pi of a chunk of rows, at least float32."""
    return capped_log_softmax(product(hidden, weight, bias), cap, temperature)


def capped_log_softmax(logits: Tensor, cap: float | None, temperature: float) -> Tensor:
    return torch.log_softmax(capped(logits, cap) / temperature, -1)


def capped(logits: Tensor, cap: float | None) -> Tensor:
    return logits if cap is None else cap * torch.tanh(logits / cap)


def statistics(logp: Tensor, target: Tensor, functionals: tuple[Functional, ...]) -> tuple[Tensor, ...]:
    """log pi(target), H, S2, S2L and the functionals; 0 log 0 = 0."""
    p = logp.exp()
    finite = logp.clamp_min(torch.finfo(logp.dtype).min)
    pl = p * finite
    h = -pl.sum(-1)
    chosen = logp.gather(-1, target[:, None]).squeeze(-1)
    return chosen, h, (p * p).sum(-1), (p * pl).sum(-1), *(f(logp) for f in functionals)


def rows_of(weight: Tensor) -> int:
    """How many rows of logits are held at once."""
    return max(1, CHUNK // weight.shape[0])


def in_chunks(hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, options: Options) -> list[Tensor]:
    rows = rows_of(weight)
    parts = [
        statistics(log_softmax(h, weight, bias, options.cap, options.temperature), t, options.functionals)
        for h, t in zip(hidden.split(rows), target.split(rows), strict=True)
    ]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


class ScoreFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, target, options):
        outputs = tuple(in_chunks(hidden, weight, bias, target, options))
        ctx.save_for_backward(hidden, weight, bias, target)
        ctx.options, ctx.rows = options, rows_of(weight)
        ctx.mark_non_differentiable(*outputs[2:4])
        return outputs

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, bias, target = ctx.saved_tensors
        kind = torch.promote_types(weight.dtype, torch.float32)
        grad_hidden = torch.zeros_like(hidden, dtype=kind)
        grad_weight = torch.zeros_like(weight, dtype=kind)
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=kind)
        for start in range(0, len(hidden), ctx.rows):
            cut = slice(start, start + ctx.rows)
            logits = product(hidden[cut], weight, bias)
            dz = logits_gradient(logits, target[cut], [None if g is None else g[cut] for g in grads], ctx.options)
            grad_hidden[cut] = dz @ weight.to(kind)
            grad_weight += dz.T @ hidden[cut].to(kind)
            if grad_bias is not None:
                grad_bias += dz.sum(0)
        cast = None if bias is None or grad_bias is None else grad_bias.to(bias.dtype)
        return grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype), cast, None, None


def product(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Logits in float32 at least."""
    kind = torch.promote_types(weight.dtype, torch.float32)
    logits = hidden.to(kind) @ weight.to(kind).T
    return logits if bias is None else logits + bias.to(kind)


def logits_gradient(logits: Tensor, target: Tensor, grads: list[Tensor | None], options: Options) -> Tensor:
    """d loss / d logits = [pi (-g1 - g2 (log pi + H)) + g1 1(target) + functionals] cap' / temperature."""
    logp = capped_log_softmax(logits, options.cap, options.temperature)
    return slopes_of(logits, logp, target, grads, options)


def slopes_of(logits: Tensor, logp: Tensor, target: Tensor, grads: list[Tensor | None], options: Options) -> Tensor:
    """The same where log pi is there already."""
    g1, g2, rest = grads[0], grads[1], grads[4:]
    p = logp.exp()
    dz = torch.zeros_like(p) if g1 is None else p * -g1[:, None]
    if g1 is not None:
        dz.scatter_add_(1, target[:, None], g1[:, None].to(dz.dtype))
    if g2 is not None:
        finite = logp.clamp_min(torch.finfo(logp.dtype).min)
        h = -(p * finite).sum(-1, keepdim=True)
        dz -= p * (finite + h) * g2[:, None]
    if any(g is not None for g in rest):
        dz += functional_gradient(logp, options.functionals, rest)
    if options.cap is not None:
        squashed = torch.tanh(logits / options.cap)
        dz *= 1 - squashed * squashed
    return dz.div_(options.temperature)


def functional_gradient(logp: Tensor, functionals: tuple[Functional, ...], grads: list[Tensor | None]) -> Tensor:
    """Through log-softmax: g - pi sum(g), with g = d loss / d log pi from the functionals' own graphs."""
    with torch.enable_grad():
        leaf = logp.detach().requires_grad_()
        parts = [(f(leaf) * g).sum() for f, g in zip(functionals, grads, strict=True) if g is not None]
    (g,) = torch.autograd.grad(parts, leaf)
    return g - logp.exp() * g.sum(-1, keepdim=True)
