"""`Decoder.hidden` with its gradient by hand, for the compiled functions.

Chunks of a few groups go through all layers one after another, so that what a layer hands on stays in the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from isotherm import native
from isotherm.policy.batch import Batch
from isotherm.policy.compiled_weights import Parameters, gradients, is_bfloat, parameters
from isotherm.policy.layer_products import products
from isotherm.policy.weights import Weights

if TYPE_CHECKING:
    from isotherm.policy.decoder import Decoder


def hidden(decoder: Decoder, batch: Batch) -> Tensor:
    layers = [x for layer in decoder.layers for x in parameters(layer)]
    options = decoder, batch, torch.is_grad_enabled()
    return Hidden.apply(options, decoder.embed, decoder.norm, *layers)  # pyright: ignore[reportReturnType]


class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, options, embed, norm, *layers):  # pyright: ignore[reportIncompatibleMethodOverride]
        decoder, batch, keep = options
        positions = len(batch.prompts[0]) + batch.responses.shape[1]
        ctx.save_for_backward(*layers)
        ctx.run = Run(decoder, decoder.weights(), embed.detach(), norm.detach(), positions)
        found = [ctx.run.forward(chunk_of(decoder, part), keep) for part in batch.chunks()]
        ctx.kept = [kept for _, kept in found]
        return torch.cat([states for states, _ in found])

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        total = Totals(ctx.run)
        for kept, grad in zip(ctx.kept, grads[0].split([len(k.chunk.states) for k in ctx.kept]), strict=True):
            ctx.run.backward(kept, grad.contiguous(), total)
        saved, size = ctx.saved_tensors, len(Parameters._fields)
        layers = [Parameters(*saved[i : i + size]) for i in range(0, len(saved), size)]
        back = [gradients(ctx.run.shape, *pair) for pair in zip(layers, total.layers, strict=True)]
        return None, total.embed, total.norm, *(x for layer in back for x in layer)


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
    gate_up: Tensor | None  # where it is not made once more


class KeptChunk(NamedTuple):
    chunk: Chunk
    layers: list[Kept]
    x: Tensor  # the residual stream at the end


class Totals:
    """Gradients, summed over the chunks: in float32, but those of a single chunk stay as they came."""

    def __init__(self, run: Run) -> None:
        self.embed, self.norm = torch.zeros_like(run.embed), torch.zeros_like(run.norm)
        self.layers: list[dict[str, Tensor | None]] = [dict.fromkeys(Weights._fields) for _ in run.layers]
        self.products = run.products

    def sum(self, layer: int, name: str, grad: Tensor) -> None:
        """Of a bias."""
        part, before = torch.empty(grad.shape[1]), self.layers[layer][name]
        native.call("sum_rows", grad, part, *grad.shape, is_bfloat(grad))
        self.layers[layer][name] = part if before is None else before + part

    def product(self, layer: int, name: str, grad: Tensor, x: Tensor) -> None:
        """Of y = x w^T + bias."""
        self.layers[layer][name] = self.products.to_weight(self.layers[layer][name], grad, x)


class Run:
    """One pass of a decoder with these weights."""

    def __init__(self, decoder: Decoder, layers: list[Weights], embed: Tensor, norm: Tensor, positions: int) -> None:
        self.shape, self.layers, self.embed, self.norm = decoder.shape, layers, embed, norm
        turns = decoder.turns(positions)[:, 0]
        self.cosine, self.sine = turns.real.contiguous(), turns.imag.contiguous()
        self.kind = decoder.kind(embed)
        self.products = products(self.kind, decoder.shape.norm_eps, decoder.shape.mlp)

    def normal(self, x: Tensor) -> Tensor:
        """x normalised, in the compute precision."""
        y = torch.empty(x.shape, dtype=self.kind)
        native.call("normal_forward", x, x, None, None, y, *x.shape, self.shape.norm_eps, 0, is_bfloat(y))
        return y

    def forward(self, chunk: Chunk, keep: bool) -> tuple[Tensor, KeptChunk]:
        x, layers, multiply = self.embed.index_select(0, chunk.ids), [], self.products
        y = self.normal(x)
        for number, w in enumerate(self.layers, 1):
            qkv = multiply.linear(y, w.qkv, w.qkv_bias)
            mixed = self.attention(chunk, qkv)
            middle, middle_y = multiply.add_normal(mixed, w.out, w.out_bias, x)
            last, before = self.norm if number == len(self.layers) else None, (x, y)
            x, y, gate_up = multiply.mlp(middle_y, w, middle, last)
            if keep:
                layers.append(Kept(*before, qkv, mixed, middle, middle_y, gate_up))
        return y.index_select(0, chunk.states), KeptChunk(chunk, layers, x)

    def attention(self, chunk: Chunk, qkv: Tensor, grad: Tensor | None = None) -> Tensor:
        """The heads' outputs; with their gradient, that of q, k, v."""
        s = self.shape
        heads = s.heads if grad is None else s.heads + 2 * s.kv_heads
        out = torch.empty(len(qkv), heads * s.head_width, dtype=self.kind)
        out[chunk.real :] = 0
        room = torch.empty(native.call("attention_room", chunk.table), dtype=torch.uint8)
        native.call("attention", chunk.table, qkv, self.cosine, self.sine, grad, out, room, is_bfloat(out))
        return out

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
        k, sums = kept, total.layers[number]
        before = sums["gate_up"], sums["down"]
        after = self.products.mlp_back(k.middle_y, self.layers[number], k.middle, k.gate_up, g, copy, before)
        sums["gate_up"], sums["down"] = after

    def mixing_back(self, number: int, kept: Kept, chunk: Chunk, g: Tensor, copy: Tensor, total: Totals) -> None:
        w, multiply = self.layers[number], self.products
        total.product(number, "out", copy, kept.mixed)
        dqkv = self.attention(chunk, kept.qkv, multiply.linear_back(copy, w.out))
        total.product(number, "qkv", dqkv, kept.y)
        for name, bias, part in (("out_bias", w.out_bias, copy), ("qkv_bias", w.qkv_bias, dqkv)):
            if bias is not None:
                total.sum(number, name, part)
        multiply.normal_back(dqkv, w.qkv, kept.x, g, copy)
