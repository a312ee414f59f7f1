"""`Decoder.hidden` with its gradient by hand: torch multiplies the matrices, `native/` does what lies between.

Chunks of a few groups go through all layers one after another, so that what a layer hands on stays in the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from isotherm import native
from isotherm.policy.batch import Batch
from isotherm.policy.weights import Weights

if TYPE_CHECKING:
    from isotherm.policy.decoder import Decoder


def can(decoder: Decoder) -> bool:
    """Whether the compiled functions compute this decoder."""
    wanted = decoder.compute in (torch.float32, torch.bfloat16)
    return wanted and decoder.embed.dtype == torch.float32 and native.fits(decoder.embed)


def hidden(decoder: Decoder, batch: Batch) -> Tensor:
    weights = [x for layer in decoder.layers for x in decoder.prepare(layer)]
    options = decoder, batch, torch.is_grad_enabled()
    return Hidden.apply(options, decoder.embed, decoder.norm, *weights)  # pyright: ignore[reportReturnType]


class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, options, embed, norm, *weights):  # pyright: ignore[reportIncompatibleMethodOverride]
        decoder, batch, keep = options
        count = len(Weights._fields)
        layers = [decoder.cast_all(Weights(*weights[i : i + count])) for i in range(0, len(weights), count)]
        ctx.run = Run(decoder, layers, embed.detach(), norm.detach(), len(batch.prompts[0]) + batch.responses.shape[1])
        found = [ctx.run.forward(chunk_of(decoder, part), keep) for part in batch.chunks()]
        ctx.kept = [kept for _, kept in found]
        return torch.cat([states for states, _ in found])

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        total = Totals(ctx.run)
        for kept, grad in zip(ctx.kept, grads[0].split([len(k.chunk.states) for k in ctx.kept]), strict=True):
            ctx.run.backward(kept, grad.contiguous(), total)
        return None, total.embed, total.norm, *(x for layer in total.layers for x in layer.values())


class Chunk(NamedTuple):
    """Some groups of a batch; their real tokens are packed, prompts first, and followed by unused ones."""

    ids: Tensor  # [N]
    real: int  # of them are
    states: Tensor  # the packed token whose state predicts each response token
    tensors: tuple[Tensor, ...]  # prompt lengths, fed tokens, first tokens: kept alive for `table`
    table: Tensor  # struct chunk


def chunk_of(decoder: Decoder, batch: Batch) -> Chunk:
    (groups, width), room, s = batch.prompts.shape, batch.responses.shape[1] - 1, decoder.shape
    packed, fed = batch.packing(), batch.lengths - 1
    sizes = torch.cat((batch.prompt_lengths, fed))
    first = sizes.cumsum(0) - sizes
    tensors = batch.prompt_lengths.contiguous(), fed, first
    table = [groups, batch.n, width, room, s.heads, s.kv_heads, s.head_width, *(x.data_ptr() for x in tensors)]
    return Chunk(packed.ids, int(sizes.sum()), packed.states, tensors, torch.tensor(table))


class Kept(NamedTuple):
    """What the backward pass reads of a layer."""

    x: Tensor  # the residual stream before attention
    y: Tensor  # that normalised
    qkv: Tensor
    mixed: Tensor  # what attention returned, packed
    middle: Tensor  # the residual stream after attention
    middle_y: Tensor  # that normalised
    gate_up: Tensor


class KeptChunk(NamedTuple):
    chunk: Chunk
    layers: list[Kept]
    x: Tensor  # the residual stream at the end


class Totals:
    """Gradients, in float32, summed over the chunks."""

    def __init__(self, run: Run) -> None:
        self.embed, self.norm = torch.zeros_like(run.embed), torch.zeros_like(run.norm)
        self.layers: list[dict[str, Tensor | None]] = [dict.fromkeys(Weights._fields) for _ in run.layers]

    def add(self, layer: int, name: str, part: Tensor) -> None:
        before = self.layers[layer][name]
        if before is None:
            self.layers[layer][name] = part.float()
        else:
            native.call("add_part", before, part, part.numel(), is_bfloat(part))

    def product(self, layer: int, name: str, grad: Tensor, x: Tensor) -> None:
        """Of y = x w^T + bias."""
        self.add(layer, name, grad.T @ x)


def is_bfloat(x: Tensor) -> int:
    return int(x.dtype == torch.bfloat16)


class Run:
    """One pass of a decoder with these weights."""

    def __init__(self, decoder: Decoder, layers: list[Weights], embed: Tensor, norm: Tensor, positions: int) -> None:
        self.shape, self.layers, self.embed, self.norm = decoder.shape, layers, embed, norm
        turns = decoder.turns(positions)[:, 0]
        self.cosine, self.sine = turns.real.contiguous(), turns.imag.contiguous()
        self.kind = decoder.kind(embed)

    def normal(self, x: Tensor, delta: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x + delta, and that normalised, in the compute precision."""
        y = torch.empty(x.shape, dtype=self.kind)
        out = x if delta is None else torch.empty_like(x)
        native.call("normal_forward", x, out, delta, None, y, *x.shape, self.shape.norm_eps, is_bfloat(y), is_bfloat(y))
        return out, y

    def forward(self, chunk: Chunk, keep: bool) -> tuple[Tensor, KeptChunk]:
        x, layers = self.embed.index_select(0, chunk.ids), []
        delta: Tensor | None = None
        for w in self.layers:
            x, y = self.normal(x, delta)
            qkv = F.linear(y, w.qkv, w.qkv_bias)
            mixed = self.attention(chunk, qkv)
            middle, middle_y = self.normal(x, F.linear(mixed, w.out, w.out_bias))
            gate_up = F.linear(middle_y, w.gate_up)
            opened = torch.empty(len(x), self.shape.mlp, dtype=self.kind)
            native.call("gated_forward", gate_up, opened, *opened.shape, is_bfloat(opened))
            if keep:
                layers.append(Kept(x, y, qkv, mixed, middle, middle_y, gate_up))
            x, delta = middle, F.linear(opened, w.down)
        y, end = torch.empty_like(x), x if delta is None else torch.empty_like(x)
        kind = 0 if delta is None else is_bfloat(delta)
        native.call("normal_forward", x, end, delta, self.norm, y, *x.shape, self.shape.norm_eps, kind, 0)
        return y.index_select(0, chunk.states), KeptChunk(chunk, layers, end)

    def attention(self, chunk: Chunk, qkv: Tensor, grad: Tensor | None = None) -> Tensor:
        """The heads' outputs; with their gradient, that of q, k, v."""
        s = self.shape
        heads = s.heads if grad is None else s.heads + 2 * s.kv_heads
        out = torch.empty(len(qkv), heads * s.head_width, dtype=self.kind)
        out[chunk.real :] = 0
        room = torch.empty(native.call("attention_room", chunk.table), dtype=torch.uint8)
        native.call("attention", chunk.table, qkv, self.cosine, self.sine, grad, out, room, is_bfloat(out))
        return out

    def normal_back(self, x: Tensor, dy: Tensor, g: Tensor, copy: Tensor) -> None:
        """Adds to g what comes through the norm; `copy` gets g in the compute precision."""
        sizes = *x.shape, self.shape.norm_eps, is_bfloat(dy), is_bfloat(copy)
        native.call("normal_backward", x, dy, None, None, g, copy, *sizes)

    def backward(self, kept: KeptChunk, grad: Tensor, total: Totals) -> None:
        chunk, x, width = kept.chunk, kept.x, self.shape.width
        dy, g, copy = torch.zeros_like(x), torch.zeros_like(x), torch.empty(x.shape, dtype=self.kind)
        native.call("add_rows", dy, chunk.states, grad, len(grad), width)
        sizes = *x.shape, self.shape.norm_eps, 0, is_bfloat(copy)
        native.call("normal_backward", x, dy, self.norm, total.norm, g, copy, *sizes)
        for number in reversed(range(len(self.layers))):
            self.mlp_back(number, kept.layers[number], g, copy, total)
            self.mixing_back(number, kept.layers[number], chunk, g, copy, total)
        native.call("add_rows", total.embed, chunk.ids, g, chunk.real, width)

    def mlp_back(self, number: int, kept: Kept, g: Tensor, copy: Tensor, total: Totals) -> None:
        w, dz = self.layers[number], torch.empty_like(kept.gate_up)
        dy = copy @ w.down
        opened = torch.empty_like(dy)
        native.call("gated_backward", kept.gate_up, dy, dz, opened, *dy.shape, is_bfloat(dy))
        total.product(number, "down", copy, opened)
        total.product(number, "gate_up", dz, kept.middle_y)
        self.normal_back(kept.middle, dz @ w.gate_up, g, copy)

    def mixing_back(self, number: int, kept: Kept, chunk: Chunk, g: Tensor, copy: Tensor, total: Totals) -> None:
        w = self.layers[number]
        total.product(number, "out", copy, kept.mixed)
        dqkv = self.attention(chunk, kept.qkv, copy @ w.out)
        total.product(number, "qkv", dqkv, kept.y)
        for name, bias, part in (("out_bias", w.out_bias, copy), ("qkv_bias", w.qkv_bias, dqkv)):
            if bias is not None:
                total.add(number, name, part.sum(0, dtype=torch.float32))
        self.normal_back(kept.x, dqkv @ w.qkv, g, copy)
