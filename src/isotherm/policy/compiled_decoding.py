"""Decoding with the compiled step (`native/advance.c`): the same function as `Decoder.advance`, a call per token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isotherm import native
from isotherm.errors import UserError
from isotherm.policy.batch import Batch

if TYPE_CHECKING:
    from isotherm.policy.decoder import Decoder

COLUMNS = 16  # keys lie in blocks of so many columns
USED, SLOT, GROUP = 9, 4, 5  # places in `sizes` and in `tensors`, which are in the order of `struct decoder`


def can(decoder: Decoder) -> bool:
    """Whether the compiled step computes this decoder."""
    wanted = decoder.compute in (torch.float32, torch.bfloat16) and decoder.shape.head_width % 4 == 0
    return wanted and decoder.embed.dtype == torch.float32 and native.fits(decoder.embed)


class CompiledCache:
    """Keys and values of every response in a slot of its own, and of the prompts; in the compute precision."""

    sparse, step = 0.95, 1  # `keep` copies nothing

    def __init__(self, decoder: Decoder, prompt: Sequence[Tensor], turns: Tensor, batch: Batch, room: int) -> None:
        self.decoder, s = decoder, decoder.shape
        groups, rows, width = len(batch.prompts), len(batch.responses), batch.prompts.shape[1]
        self.slot = torch.arange(rows)
        self.group = self.slot // batch.n
        room, prompt_room = blocks(room), blocks(width)
        kind = decoder.kind(decoder.embed)
        self.kind = int(kind == torch.bfloat16)
        size = s.kv_heads * COLUMNS * s.head_width
        shared = [torch.zeros(2, groups, prompt_room * size, dtype=kind) for _ in prompt]
        own = [torch.zeros(2, rows, room * size, dtype=kind) for _ in prompt]
        lengths = batch.prompt_lengths.contiguous()
        for kept, (keys, values) in zip(prompt, shared, strict=True):
            native.call("keep_prompts", kept.contiguous(), keys, values, lengths, groups, s.kv_heads, width,
                        s.head_width, prompt_room, self.kind)  # fmt: skip
        cosine, sine = (x.squeeze(1).contiguous() for x in (turns.real, turns.imag))
        layers = [self.layer_table(*parts) for parts in zip(decoder.weights(), shared, own, strict=True)]
        self.sizes = [rows, s.width, s.layers, s.heads, s.kv_heads, s.head_width, s.mlp, room, prompt_room, 0, self.kind]
        self.tensors = [decoder.embed, cosine, sine, decoder.norm, self.slot, self.group, lengths]
        self.tensors += [x for layer in layers for x in layer]
        self.keep(self.slot)

    def layer_table(self, w, shared: Tensor, own: Tensor) -> list[Tensor | None]:
        """In the order of `struct layer`."""
        biases = [None if b is None else b.float() for b in (w.qkv_bias, w.out_bias)]
        matrices = [self.packed(x) for x in (w.qkv, w.out, w.gate_up, w.down)]
        return [matrices[0], biases[0], matrices[1], biases[1], *matrices[2:], *shared.unbind(), *own.unbind()]

    def packed(self, w: Tensor) -> Tensor:
        out = torch.empty(native.call("packed_size", *w.shape, self.kind), dtype=torch.uint8)
        native.call("pack", w.contiguous(), out, *w.shape, self.kind)
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
