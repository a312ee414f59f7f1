"""Decoding with the compiled step (`native/advance.c`): the same function as `Decoder.advance`, a call per token."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isotherm import native
from isotherm.errors import UserError
from isotherm.policy import compiled_weights
from isotherm.policy.batch import Batch
from isotherm.policy.compiled_hidden import Run, chunk_of
from isotherm.policy.weights import Weights

if TYPE_CHECKING:
    from isotherm.policy.decoder import Decoder

COLUMNS = 16  # keys lie in blocks of so many columns
NO_MEMORY = "There is no memory for decoding so many responses at once; lower prompts or group."
USED, SLOT, GROUP = 10, 3, 4  # places in `sizes` and in `tensors`, which are in the order of `struct decoder`


def can(decoder: Decoder) -> bool:
    """Whether the compiled step computes this decoder."""
    return decoder.shape.head_width % 4 == 0 and compiled_weights.can(decoder)


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
            turns, lengths = (run.cosine, run.sine), part.prompt_lengths.contiguous()
            native.call("prompt_keys", kept.chunk.table, layer.qkv, *turns, *keys.unbind(), cache.kind)
            sizes = first, len(found), groups, s.kv_heads, width, s.head_width, cache.kind
            native.call("keep_prompts", *keys.unbind(), *shared, lengths, *sizes)
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
        self.kind, memory = int(run.kind == torch.bfloat16), Memory()
        packed = [[self.packed(memory, *parts) for parts in matrices(w)] for w in layers]
        self.shared = [self.columns(memory, groups, width) for _ in layers]
        tables = []
        for w, four, shared in zip(layers, packed, self.shared, strict=True):
            biases = padded(w.qkv_bias, len(w.qkv)), padded(w.out_bias, s.width), padded(None, s.width)
            tables.append([*four, *biases, *shared, *self.columns(memory, rows, room)])
        sizes = s.width, s.layers, s.heads, s.kv_heads, s.head_width, s.mlp, rows, groups, upto(width) + upto(room)
        self.sizes = [rows, *sizes, 0, self.kind]
        lengths = batch.prompt_lengths.contiguous()
        self.tensors = [decoder.embed, turns(run.cosine, run.sine), decoder.norm, self.slot, self.group, lengths]
        self.tensors += [x for table in tables for x in table]
        self.keep(self.slot)

    def packed(self, memory: Memory, *parts: Tensor) -> Tensor:
        """Of several matrices, sixteen columns of each in turn."""
        columns, depth = parts[0].shape
        out = memory.take(len(parts) * native.call("decoding_packed_size", columns, depth, self.kind))
        for i, w in enumerate(parts):
            native.call("decoding_pack", w.contiguous(), out, columns, depth, self.kind, i, len(parts))
        return out

    def columns(self, memory: Memory, slots: int, columns: int) -> tuple[Tensor, Tensor]:
        """Room for keys and for values, [blocks of 16 columns, slots, kv_heads, ...]: first bytes are used first."""
        s = self.decoder.shape
        numbers = upto(columns) * slots * s.kv_heads * (4 - 2 * self.kind)
        return memory.take(numbers * s.head_width), memory.take(numbers * upto(s.head_width, 32))

    def keep(self, rows: Tensor) -> None:
        """Only these responses go on; what is stored stays where it is."""
        self.sizes[0] = len(rows)
        self.tensors[SLOT], self.tensors[GROUP] = self.slot, self.group = self.slot[rows], self.group[rows]
        self.table = torch.tensor([*self.sizes, *(x.data_ptr() for x in self.tensors)])
        self.numbers = self.table.numpy()  # the same memory, which is sooner written to through this

    def advance(self, ids: Tensor) -> Tensor:
        """Feeds one token to each response; returns the states that predict the next."""
        rows, s = self.sizes[0], self.decoder.shape
        hidden = torch.empty(rows, s.width)
        if native.call("advance", self.table, ids.contiguous(), hidden, s.norm_eps):
            raise UserError(NO_MEMORY)
        self.sizes[USED] += 1
        self.numbers[USED] = self.sizes[USED]
        return hidden


class Memory:
    """Zeros, in large pages where the system has them: the processor then reads on across small ones, twice as fast."""

    most = 64 << 20  # bytes asked for at once; the system finds them when they are written

    def __init__(self) -> None:
        self.rest = torch.empty(0)

    def take(self, size: int) -> Tensor:
        if size > len(self.rest):
            try:
                memory = mmap.mmap(-1, max(size, self.most), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except OSError as error:
                raise UserError(NO_MEMORY) from error
            with suppress(OSError):  # small pages do
                memory.madvise(mmap.MADV_HUGEPAGE)
            self.rest = torch.frombuffer(memory, dtype=torch.uint8)
        found, self.rest = self.rest[:size], self.rest[size:]
        return found


def matrices(w: Weights) -> list[tuple[Tensor, ...]]:
    return [(w.qkv,), (w.out,), tuple(w.gate_up.chunk(2)), (w.down,)]


def padded(bias: Tensor | None, columns: int) -> Tensor:
    """In whole panels of 32; zeros where there is none."""
    out = torch.zeros(upto(columns, 32))
    if bias is not None:
        out[:columns] = bias
    return out


def turns(cosine: Tensor, sine: Tensor) -> Tensor:
    """[positions, 2, head_width]: [cos, cos] of each angle, and [-sin, sin]."""
    return torch.stack((cosine, cosine, -sine, sine), -1).unflatten(-1, (2, 2)).transpose(1, 2).flatten(2).contiguous()


def upto(n: int, step: int = COLUMNS) -> int:
    return n + -n % step
