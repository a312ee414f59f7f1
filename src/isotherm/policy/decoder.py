"""A plain decoder-only transformer for the Llama and Qwen2 families, fast on a CPU: it runs each prompt once per group.

Weights are read from and written to Hugging Face folders (`policy/folder.py`); fused here: q, k, v in one product,
gate and up in one. Attention is two batched products (against the prompt of the group, against the response so far),
which at the lengths of small models is several times faster than the CPU's attention kernels. Residual stream, norms,
softmax and statistics are float32; `compute` is the precision of the matrix products.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isotherm.policy.batch import Batch, Head


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


class Cache:
    """Keys and values of the prompts, shared by the `n` responses of each, and of the responses so far."""

    def __init__(self, prompt: list[tuple[Tensor, Tensor]], lengths: Tensor, width: int, n: int, room: int) -> None:
        self.prompt, self.lengths, self.width, self.n, self.used = prompt, lengths, width, n, 0
        groups, kv, _, head = prompt[0][0].shape
        self.response = [tuple(k.new_empty(groups * n, kv, room, head) for _ in range(2)) for k, _ in prompt]

    def keep(self, rows: Tensor) -> None:
        """Only these responses go on; from here on each row carries its own copy of its prompt."""
        owner = rows // self.n
        self.prompt = [(k[owner], v[owner]) for k, v in self.prompt]
        self.lengths, self.n = self.lengths[owner], 1
        room = self.response[0][0].shape[2]
        for layer, pair in enumerate(self.response):
            fresh = tuple(x.new_empty(len(rows), x.shape[1], room, x.shape[3]) for x in pair)
            for new, old in zip(fresh, pair, strict=True):
                new[:, :, : self.used] = old[rows, :, : self.used]
            self.response[layer] = fresh


class Decoder(nn.Module):
    """log-probabilities come from `hidden` and `head`; sampling from `start` and `advance`."""

    layers: Any  # an nn.ModuleList of Layer

    def __init__(self, shape: Shape, compute: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape, self.compute = shape, compute
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

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """float32 in, float32 out; the product in the compute precision."""
        if self.compute == torch.float32:
            return F.linear(x, weight, bias)
        y = F.linear(x.to(self.compute), weight.to(self.compute)).float()
        return y if bias is None else y + bias

    def frozen(self) -> Decoder:
        """The same weights without gradient, the layers' matrices already in the compute precision: for sampling."""
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        twin.layers = nn.ModuleList([copy.copy(layer) for layer in self.layers])
        for layer in twin.layers:
            layer._parameters = {
                name: p if p is None or p.dim() == 1 else nn.Parameter(p.detach().to(self.compute), requires_grad=False)
                for name, p in layer._parameters.items()
            }
        return twin

    def rotation(self, position: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin of the rotary embedding at these positions, for every head."""
        half = self.shape.head_width // 2
        rate = self.shape.rope_theta ** (-torch.arange(half, device=position.device, dtype=torch.float32) / half)
        angle = position.to(torch.float32)[:, None] * rate
        return angle.cos().to(dtype)[:, None], angle.sin().to(dtype)[:, None]

    def attend_inputs(self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys and the values of a flat stream of tokens, [tokens, heads, head_width] each."""
        s = self.shape
        y = self.linear(F.rms_norm(x, (s.width,), layer.norm1, s.norm_eps), layer.qkv, layer.qkv_bias)
        y = y.view(-1, s.heads + 2 * s.kv_heads, s.head_width)
        qk, v = y.split((s.heads + s.kv_heads, s.kv_heads), 1)
        a, b = qk.chunk(2, -1)
        qk = torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
        q, k = qk.split((s.heads, s.kv_heads), 1)
        return q * (s.head_width**-0.5), k, v

    def finish_layer(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.linear(attended, layer.out, layer.out_bias)
        y = self.linear(F.rms_norm(x, (self.shape.width,), layer.norm2, self.shape.norm_eps), layer.gate_up)
        gate, up = y.chunk(2, -1)
        return x + self.linear(F.silu(gate) * up, layer.down)

    def hidden(self, batch: Batch) -> Tensor:
        """The states that predict the response tokens, [tokens, width], from prompts that run once per group.

        Everything but attention works on the real tokens alone; attention on the padded rectangles.
        """
        groups, width = batch.prompts.shape
        rows, room = len(batch.responses), batch.responses.shape[1] - 1
        packed, cut = batch.packing(), groups * width
        x = F.embedding(packed.ids, self.embed)
        cos, sin = self.rotation(packed.position, x.dtype)
        masks = batch.prompt_mask(x.dtype), batch.response_mask(x.dtype)
        for layer in self.layers:
            parts = [y.index_select(0, packed.grid).transpose(0, 1) for y in self.attend_inputs(layer, x, cos, sin)]
            prompt = [by_group(y[:, :cut], groups, width) for y in parts]  # [G, heads, P, head]
            answer = [by_group(y[:, cut:], groups, batch.n * room) for y in parts]  # [G, heads, n (T - 1), head]
            a = attention(*prompt, masks[0])
            b = self.respond(answer, prompt, masks[1], rows, room)
            x = self.finish_layer(layer, x, torch.cat((flat(a), flat(b))).index_select(0, packed.places))
        x = F.rms_norm(x, (self.shape.width,), self.norm, self.shape.norm_eps)
        return x.index_select(0, packed.states)

    def respond(self, answer: list[Tensor], prompt: list[Tensor], mask: Tensor, rows: int, room: int) -> Tensor:
        """softmax([q K_prompt, q K_response]) [V_prompt, V_response] with the prompt's keys shared by its group."""
        q, k, v = answer
        groups, heads, _, head = q.shape
        kp, vp = (repeat_heads(y, heads) for y in prompt[1:])
        own = [
            repeat_heads(y, heads).view(groups, heads, rows // groups, room, head).transpose(1, 2) for y in (q, k, v)
        ]
        q_own, k_own, v_own = (y.reshape(rows * heads, room, head) for y in own)
        near = torch.bmm(q_own, k_own.transpose(1, 2)).view(groups, rows // groups, heads, room, room)
        width = kp.shape[2]
        far = (q @ kp.transpose(2, 3)).view(groups, heads, rows // groups, room, width).transpose(1, 2)
        p = (torch.cat((far, near), -1) + mask).softmax(-1)
        far_p = p[..., :width].transpose(1, 2).reshape(groups, heads, rows // groups * room, width)
        near_p = p[..., width:].reshape(rows * heads, room, room)
        near_out = torch.bmm(near_p, v_own).view(groups, rows // groups, heads, room, head).transpose(1, 2)
        return far_p @ vp + near_out.reshape(groups, heads, rows // groups * room, head)

    @torch.no_grad()
    def start(self, batch: Batch, room: int) -> tuple[Cache, Tensor]:
        """Runs the prompts once; returns the cache and the state that predicts the first token of each response."""
        groups, width = batch.prompts.shape
        x = self.embed[batch.prompts.flatten()]
        cos, sin = self.rotation(batch.prompt_positions().flatten(), x.dtype)
        mask, kept = batch.prompt_mask(x.dtype), []
        for layer in self.layers:
            q, k, v = (by_group(y.transpose(0, 1), groups, width) for y in self.attend_inputs(layer, x, cos, sin))
            kept.append((k.contiguous(), v.contiguous()))
            x = self.finish_layer(layer, x, flat(attention(q, k, v, mask)))
        x = F.rms_norm(x, (self.shape.width,), self.norm, self.shape.norm_eps)
        n = len(batch.responses) // groups
        cache = Cache(kept, batch.prompt_lengths, width, n, room)
        return cache, x.view(groups, width, -1)[:, -1].repeat_interleave(n, 0)

    @torch.no_grad()
    def advance(self, cache: Cache, ids: Tensor) -> Tensor:
        """Feeds one token to each response; returns the states that predict the next."""
        s, t, rows = self.shape, cache.used, len(ids)
        x = self.embed[ids]
        cos, sin = self.rotation((cache.lengths + t).repeat_interleave(cache.n), x.dtype)
        groups = rows // cache.n
        hidden = torch.arange(cache.width, device=ids.device) < (cache.width - cache.lengths)[:, None]
        mask = torch.zeros(hidden.shape, dtype=x.dtype, device=x.device).masked_fill_(hidden, -math.inf)
        mask = mask.view(groups, 1, 1, cache.width)
        rep = s.heads // s.kv_heads
        for layer, (kp, vp), (kr, vr) in zip(self.layers, cache.prompt, cache.response, strict=True):
            q, k, v = self.attend_inputs(layer, x, cos, sin)
            kr[:, :, t], vr[:, :, t] = k, v
            shared = (
                q.view(groups, cache.n, s.kv_heads, rep, -1)
                .transpose(1, 2)
                .reshape(groups, s.kv_heads, -1, s.head_width)
            )
            far = shared @ kp.transpose(2, 3) + mask
            far = far.view(groups, s.kv_heads, cache.n, rep, -1).transpose(1, 2).reshape(rows, s.kv_heads, rep, -1)
            near = q.view(rows, s.kv_heads, rep, -1) @ kr[:, :, : t + 1].transpose(2, 3)
            p = torch.cat((far, near), -1).softmax(-1)
            far_p = p[..., : cache.width].reshape(groups, cache.n, s.kv_heads, rep, -1).transpose(1, 2)
            a = far_p.reshape(groups, s.kv_heads, cache.n * rep, -1) @ vp
            a = a.view(groups, s.kv_heads, cache.n, rep, -1).transpose(1, 2).reshape(rows, s.kv_heads, rep, -1)
            a = a + p[..., cache.width :] @ vr[:, :, : t + 1]
            x = self.finish_layer(layer, x, a.reshape(rows, -1))
        cache.used += 1
        return F.rms_norm(x, (s.width,), self.norm, s.norm_eps)


def by_group(x: Tensor, groups: int, width: int) -> Tensor:
    """[heads, groups * width, head] -> [groups, heads, width, head]."""
    return x.unflatten(1, (groups, width)).transpose(0, 1)


def flat(x: Tensor) -> Tensor:
    """[groups, heads, width, head] -> [groups * width, heads * head]."""
    return x.transpose(1, 2).flatten(2).flatten(0, 1)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    return (q @ k.transpose(2, 3) + mask).softmax(-1) @ v
