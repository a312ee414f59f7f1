"""A plain decoder-only transformer for the Llama and Qwen2 families, fast on a CPU: it runs each prompt once per group.

Weights are read from and written to Hugging Face folders (`policy/folder.py`); fused here: q, k, v in one product, gate
and up in one, and what scales a product's inputs or outputs into its matrix. Residual stream, attention, softmax and
statistics are float32; `compute` is the precision of the other products and of what lies between gate_up and down.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isotherm.policy import compiled_decoding, compiled_hidden, compiled_weights
from isotherm.policy.attention import Cache, attention, by_head, spread
from isotherm.policy.batch import Batch, Head
from isotherm.policy.compiled_decoding import CompiledCache
from isotherm.policy.kernels import gated, normal
from isotherm.policy.weights import Weights

SHORT = 8  # tokens of a prompt that each response copies: to read them n times costs less than one product more


@dataclass(frozen=True)
class Shape:
    """The sizes in a Hugging Face config.json that decide what a decoder computes."""

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    mlp: int
    rope_theta: float
    norm_eps: float
    bias: bool  # of the q, k and v products, as in Qwen2
    tied: bool  # the head is the embedding
    attention_bias: bool = False  # of the output product too, as in some Llamas


class Layer(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        inner = (s.heads + 2 * s.kv_heads) * s.head_width
        self.norm1, self.norm2 = nn.Parameter(torch.ones(s.width)), nn.Parameter(torch.ones(s.width))
        self.qkv = nn.Parameter(torch.empty(inner, s.width))
        self.qkv_bias = nn.Parameter(torch.zeros(inner)) if s.bias else None
        self.out = nn.Parameter(torch.empty(s.width, s.heads * s.head_width))
        self.out_bias = nn.Parameter(torch.zeros(s.width)) if s.attention_bias else None
        self.gate_up = nn.Parameter(torch.empty(2 * s.mlp, s.width))
        self.down = nn.Parameter(torch.empty(s.width, s.mlp))


class Decoder(nn.Module):
    """log-probabilities come from `hidden` and `head`; sampling from `start` and `advance`."""

    layers: Any  # an nn.ModuleList of Layer

    def __init__(self, shape: Shape, compute: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape, self.compute = shape, compute
        self.ready: list[Weights] | None = None  # of a frozen twin
        self.embed = nn.Parameter(torch.empty(shape.vocab, shape.width))
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        self.norm = nn.Parameter(torch.ones(shape.width))
        self.lm_head = None if shape.tied else nn.Parameter(torch.empty(shape.vocab, shape.width))

    def init(self, seed: int) -> Decoder:
        """Normal weights of std 0.02, the two products into the residual stream smaller by sqrt(2 layers)."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in sorted(self.named_parameters()):
                if p.dim() == 2:
                    last = name.endswith((".out", ".down"))
                    p.normal_(0, 0.02 / math.sqrt(2 * self.shape.layers) if last else 0.02, generator=generator)
        return self

    @property
    def head(self) -> Head:
        return Head(self.embed if self.lm_head is None else self.lm_head)

    def weights(self) -> list[Weights]:
        if self.ready:
            return self.ready
        if not torch.is_grad_enabled() and compiled_weights.can(self):
            return [compiled_weights.prepared(self.shape, self.kind(self.embed), layer) for layer in self.layers]
        return [self.cast_all(self.prepare(layer)) for layer in self.layers]

    def prepare(self, layer: Layer) -> Weights:
        bias = None if layer.qkv_bias is None else self.turnable(layer.qkv_bias)
        qkv, gate_up = self.turnable(layer.qkv * layer.norm1), layer.gate_up * layer.norm2
        return Weights(qkv, bias, layer.out, layer.out_bias, gate_up, layer.down)

    def cast_all(self, w: Weights) -> Weights:
        return Weights(*(None if x is None else self.cast(x) for x in w))

    def turnable(self, x: Tensor) -> Tensor:
        """Rows of q (scaled) and k with i and i + head_width / 2 of each head as neighbours; and of v."""
        s = self.shape
        q, k, v = x.split([heads * s.head_width for heads in (s.heads, s.kv_heads, s.kv_heads)])
        q, k = (y.view(-1, 2, s.head_width // 2, *y.shape[1:]).transpose(1, 2).reshape(y.shape) for y in (q, k))
        return torch.cat((q * s.head_width**-0.5, k, v))

    def kind(self, x: Tensor) -> torch.dtype:
        return x.dtype if self.compute == torch.float32 else self.compute

    def cast(self, x: Tensor) -> Tensor:
        return x.to(self.kind(x))

    def frozen(self) -> Decoder:
        """A twin whose matrices stay as they would be multiplied now: for sampling."""
        twin = copy.copy(self)
        with torch.no_grad():
            twin.ready = self.weights()
        return twin

    def turns(self, positions: int) -> Tensor:
        """exp(i position rate) of the rotary embedding for each head of q and k: [positions, heads, head_width / 2]."""
        half, device = self.shape.head_width // 2, self.embed.device
        rate = self.shape.rope_theta ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
        angle = (torch.arange(positions, device=device, dtype=torch.float32)[:, None] * rate).to(self.embed.dtype)
        return torch.polar(torch.ones_like(angle), angle)[:, None].repeat(1, self.shape.heads + self.shape.kv_heads, 1)

    def attend_inputs(self, w: Weights, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of a stream of tokens: turned queries, turned keys, and values, [tokens, heads or kv_heads, head_width]."""
        s, n = self.shape, len(x)
        y = F.linear(normal(x, s.norm_eps, self.kind(x)), w.qkv, w.qkv_bias).to(x.dtype)
        turned = s.heads + s.kv_heads
        y, v = y.view(n, turned + s.kv_heads, s.head_width).split((turned, s.kv_heads), 1)
        y = torch.view_as_complex(y.view(n, turned, s.head_width // 2, 2)) * turn
        q, k = torch.view_as_real(y).view(n, turned, s.head_width).split((s.heads, s.kv_heads), 1)
        return q, k, v

    def finish_layer(self, w: Weights, x: Tensor, attended: Tensor) -> Tensor:
        x = x + F.linear(self.cast(attended), w.out, w.out_bias)
        y = F.linear(normal(x, self.shape.norm_eps, self.kind(x)), w.gate_up)
        return x + F.linear(gated(y), w.down)

    def last_norm(self, x: Tensor) -> Tensor:
        return normal(x, self.shape.norm_eps, x.dtype) * self.norm

    def hidden(self, batch: Batch) -> Tensor:
        """The states that predict the response tokens, [tokens, width], from prompts that run once per group.

        Everything but attention works on the real tokens alone; attention on the padded rectangles.
        """
        if compiled_weights.can(self):
            return compiled_hidden.hidden(self, batch)
        (groups, width), (rows, room) = batch.prompts.shape, batch.responses[:, 1:].shape
        packed, cut = batch.packing(), groups * width
        x, turn = F.embedding(packed.ids, self.embed), self.turns(width + room)[packed.position]
        prompt_mask, response_mask = self.spread(batch.prompt_mask(x.dtype)), self.spread(batch.response_mask(x.dtype))
        for w in self.weights():
            (q, mine), *pairs = (
                y.index_select(0, packed.grid).split((cut, rows * room)) for y in self.attend_inputs(w, x, turn)
            )
            seen = [by_head(prompt.unflatten(0, (groups, width))) for prompt, _ in pairs]
            a = self.attend(q.unflatten(0, (groups, width)), *seen, prompt_mask)
            answers = (answer.unflatten(0, (rows, room)).transpose(1, 2) for _, answer in pairs)
            seen = [
                torch.cat((old.repeat_interleave(batch.n, 0), new), 2) for old, new in zip(seen, answers, strict=True)
            ]
            b = self.attend(mine.unflatten(0, (rows, room)), *seen, response_mask)
            x = self.finish_layer(w, x, torch.cat((a, b)).index_select(0, packed.places))
        return self.last_norm(x).index_select(0, packed.states)

    def spread(self, mask: Tensor) -> Tensor:
        return spread(mask, self.shape.kv_heads, self.shape.heads // self.shape.kv_heads)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return attention(q, k, v, mask, self.kind(q))

    @torch.no_grad()
    def start(self, batch: Batch, room: int) -> tuple[Cache | CompiledCache, Tensor]:
        """Runs the prompts once; returns the cache and the state that predicts the first token of each response."""
        if compiled_decoding.can(self):
            return compiled_decoding.start(self, batch, room)
        return self.start_plain(batch, room)

    @torch.no_grad()
    def start_plain(self, batch: Batch, room: int) -> tuple[Cache, Tensor]:
        groups, width = batch.prompts.shape
        x, turns = self.embed[batch.prompts.flatten()], self.turns(width + room)
        turn, mask, kept = turns[batch.prompt_positions().flatten()], self.spread(batch.prompt_mask(x.dtype)), []
        for w in self.weights():
            q, k, v = (y.unflatten(0, (groups, width)) for y in self.attend_inputs(w, x, turn))
            k, v = by_head(k), by_head(v)
            kept.append((k.transpose(2, 3).contiguous(), v))
            x = self.finish_layer(w, x, self.attend(q, k, v, mask))
        cache = Cache(kept, turns, batch, room)
        if width <= SHORT:
            cache.keep(torch.arange(len(batch.responses), device=x.device))
        return cache, self.last_norm(x).view(groups, width, -1)[:, -1].repeat_interleave(batch.n, 0)

    def advance(self, cache: Cache | CompiledCache, ids: Tensor) -> Tensor:
        """Feeds one token to each response; returns the states that predict the next."""
        return cache.advance(ids) if isinstance(cache, CompiledCache) else self.advance_plain(cache, ids)

    @torch.no_grad()
    def advance_plain(self, cache: Cache, ids: Tensor) -> Tensor:
        x, turn = F.embedding(ids, self.embed), cache.turns.index_select(0, cache.position)
        for layer, w in enumerate(self.weights()):
            x = self.finish_layer(w, x, cache.attend(layer, *self.attend_inputs(w, x, turn)))
        cache.used, cache.position = cache.used + 1, cache.position + 1
        return self.last_norm(x)
