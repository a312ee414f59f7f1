"""Decoding with the compiled step (`native/advance.c`): the same function as `Decoder.advance`, a call per token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isotherm import native
from isotherm.errors import UserError
from isotherm.policy.batch import Batch
from isotherm.policy.compiled_hidden import Run, chunk_of
from isotherm.policy.weights import Weights

if TYPE_CHECKING:
    from isotherm.policy.decoder import Decoder

COLUMNS = 16  # keys lie in blocks of so many columns
USED, SLOT, GROUP = 9, 4, 5  # places in `sizes` and in `tensors`, which are in the order of `struct decoder`


def can(decoder: Decoder) -> bool:
    """Whether the compiled step computes this decoder."""
    wanted = decoder.compute in (torch.float32, torch.bfloat16) and decoder.shape.head_width % 4 == 0
    return wanted and decoder.embed.dtype == torch.float32 and native.fits(decoder.embed)


def start(decoder: Decoder, batch: Batch, room: int) -> tuple[CompiledCache, Tensor]:
    """`Decoder.start`: the prompts go through the layers as if each had one response of one token."""
    groups, width = batch.prompts.shape
    ones = torch.ones(groups, dtype=torch.int64)
    layers, s = decoder.weights(), decoder.shape
    run = Run(decoder, layers, decoder.embed.detach(), decoder.norm.detach(), width + room)
    cache = CompiledCache(decoder, run, layers, batch, room)
    states = []
    for part in Batch(batch.prompts, batch.prompt_lengths, ones[:, None], ones).chunks():
        found, kept = run.forward(chunk_of(decoder, part), keep=True)
        first, keys = sum(map(len, states)), torch.empty(2, len(found), s.kv_heads, width, s.head_width, dtype=run.kind)
        for layer, shared in zip(kept.layers, cache.shared, strict=True):
            turns = run.cosine, run.sine
            native.call("prompt_keys", kept.chunk.table, layer.qkv, *turns, *keys.unbind(), cache.kind)
            sizes = len(found), s.kv_heads, width, s.head_width, cache.prompt_room, cache.kind
            into, lengths = (x[first:] for x in shared), part.prompt_lengths.contiguous()
            native.call("keep_prompts", *keys.unbind(), *into, lengths, *sizes)
        states.append(found)
    return cache, torch.cat(states).repeat_interleave(batch.n, 0)


class CompiledCache:
    """Keys and values of every response in a slot of its own, and of the prompts; in the compute precision."""

    sparse, step = 0.95, 1  # `keep` copies nothing

    def __init__(self, decoder: Decoder, run: Run, layers: list[Weights], batch: Batch, room: int) -> None:
        self.decoder, s = decoder, decoder.shape
        groups, rows, width = len(batch.prompts), len(batch.responses), batch.prompts.shape[1]
        self.slot = torch.arange(rows)
        self.group = self.slot // batch.n
        own_room, self.prompt_room = blocks(room), blocks(width)
        self.kind = int(run.kind == torch.bfloat16)
        size = s.kv_heads * COLUMNS * s.head_width
        self.shared = [torch.empty(2, groups, self.prompt_room * size, dtype=run.kind) for _ in layers]
        own = [torch.empty(2, rows, own_room * size, dtype=run.kind) for _ in layers]
        tables = [self.layer_table(*parts) for parts in zip(layers, self.shared, own, strict=True)]
        sizes = s.width, s.layers, s.heads, s.kv_heads, s.head_width, s.mlp, own_room, self.prompt_room, 0, self.kind
        self.sizes = [rows, *sizes]
        lengths = batch.prompt_lengths.contiguous()
        self.tensors = [decoder.embed, run.cosine, run.sine, decoder.norm, self.slot, self.group, lengths]
        self.tensors += [x for table in tables for x in table]
        self.keep(self.slot)

    def layer_table(self, w: Weights, shared: Tensor, own: Tensor) -> list[Tensor | None]:
        """In the order of `struct layer`."""
        biases = [None if b is None else b.float() for b in (w.qkv_bias, w.out_bias)]
        matrices = [self.packed(x) for x in (w.qkv, w.out, w.gate_up, w.down)]
        return [matrices[0], biases[0], matrices[1], biases[1], *matrices[2:], *shared.unbind(), *own.unbind()]

    def packed(self, w: Tensor) -> Tensor:
        out = torch.empty(native.call("decoding_packed_size", *w.shape, self.kind), dtype=torch.uint8)
        native.call("decoding_pack", w.contiguous(), out, *w.shape, self.kind)
        return out

    def keep(self, rows: Tensor) -> None:
        """Only these responses go on; what is stored stays where it is."""
        self.sizes[0] = len(rows)
        self.tensors[SLOT], self.tensors[GROUP] = self.slot, self.group = self.slot[rows], self.group[rows]
        self.table = torch.tensor([*self.sizes, *(0 if x is None else x.data_ptr() for x in self.tensors)])

    def advance(self, ids: Tensor) -> Tensor:
        """Feeds one token to each response; returns the states that predict the next."""
        rows, s = self.sizes[0], self.decoder.shape
        hidden = torch.empty(rows, s.width)
        if native.call("advance", self.table, ids.contiguous(), hidden, s.norm_eps):
            raise UserError(f"There is no memory for decoding {rows} responses at once; lower prompts or group.")
        self.sizes[USED] += 1
        self.table[USED] = self.sizes[USED]
        return hidden


def blocks(columns: int) -> int:
    return -(-columns // COLUMNS)
