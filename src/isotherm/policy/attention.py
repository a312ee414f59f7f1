"""Attention as batched products: heads that share keys, and responses that share a prompt, share a product.

At the lengths of small models this is several times faster on a CPU than its attention kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.policy.batch import ROUND, Batch
from isotherm.policy.kernels import attend


class Cache:
    """Keys and values, [2, rows, kv_heads, columns, head_width] for each layer: `own` of every response so far, and
    `prompt` of the prompts, each shared by its `n` responses, until `keep` copies them before the responses."""

    sparse, step = 0.5, ROUND  # `keep` copies: worth it for few that go on, a round number of them

    def __init__(self, prompt: list[Tensor], turns: Tensor, batch: Batch, room: int) -> None:
        self.prompt, self.turns, self.n, self.used = prompt, turns, batch.n, 0
        self.position = batch.prompt_lengths.repeat_interleave(self.n)  # [R] of the next token
        self.mask = batch.padding_mask(turns.real.dtype)  # [G, 1, P]
        self.own = [y.new_empty(2, len(batch.responses), y.shape[2], room, y.shape[4]) for y in prompt]

    def keep(self, rows: Tensor) -> None:
        """Only these responses go on."""
        width = self.mask.shape[2] if self.prompt else 0
        for layer, old in enumerate(self.own):
            new = old.new_empty(2, len(rows), old.shape[2], width + old.shape[3], old.shape[4])
            if self.prompt:
                new[:, :, :, :width] = self.prompt[layer][:, rows // self.n]
            new[:, :, :, width : width + self.used] = old[:, rows, :, : self.used]
            self.own[layer] = new
        self.mask = self.mask[rows // self.n]
        self.used += width
        self.prompt, self.position, self.n = [], self.position[rows], 1

    def attend(self, layer: int, q: Tensor, k_v: Tensor) -> Tensor:
        """Appends keys and values [R, 2 kv, head] of one token per response, whose queries are q [R, heads, head]."""
        own = self.own[layer].narrow(3, 0, self.used + 1)
        _, rows, kv, _, head = own.shape
        own.select(3, self.used).copy_(k_v.view(rows, 2, kv, head).transpose(0, 1))
        k, v = own.unbind()
        if self.prompt:
            kp, vp = self.prompt[layer].unbind()
            return look_back(q, kp, vp, k, v, self.mask, self.n)
        return look_back_alone(q, k, v, self.mask)


def spread(mask: Tensor, kv: int, rep: int) -> Tensor:
    """[B, T, S] -> [B kv, rep T, S] for heads that share keys; [1, T, S] -> [1, rep T, S]."""
    mask = mask[:, None, None].expand(-1, kv if len(mask) > 1 else 1, rep, -1, -1)
    return mask.flatten(2, 3).flatten(0, 1)


def by_head(k_v: Tensor) -> tuple[Tensor, Tensor]:
    """[B, S, 2 kv, head] -> keys and values, [B, kv, S, head]."""
    k, v = k_v.transpose(1, 2).chunk(2, 1)
    return k.contiguous(), v.contiguous()


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, kind: torch.dtype) -> Tensor:
    """softmax(q K + mask) V: q [B, T, heads, head], k and v [B, kv, S, head], mask of `spread` -> [B T, heads head]."""
    (b, t, heads, head), kv = q.shape, k.shape[1]
    rep = heads // kv
    q = q.view(b, t, kv, rep, head).permute(0, 2, 3, 1, 4).reshape(b * kv, rep * t, head)
    a = attend(q, k.flatten(0, 1), v.flatten(0, 1), mask, kind)
    return a.view(b, kv, rep, t, head).permute(0, 3, 1, 2, 4).reshape(b * t, heads * head)


def look_back(q: Tensor, kp: Tensor, vp: Tensor, k: Tensor, v: Tensor, mask: Tensor, n: int) -> Tensor:
    """softmax([q K_prompt + mask, q K]) [V_prompt, V] for one query per response: q [R, heads, head], prompts
    [G, kv, P, head], responses [R, kv, t, head]."""
    (groups, kv, width, head), (rows, heads, _), t = kp.shape, q.shape, k.shape[2]
    rep = heads // kv
    shared = q.view(groups, n, kv, rep, head).transpose(1, 2).reshape(groups * kv, n * rep, head)
    mask = mask.expand(-1, kv, -1).reshape(groups * kv, 1, width)
    far = torch.baddbmm(mask, shared, kp.flatten(0, 1).transpose(1, 2)).view(groups, kv, n, rep, width)
    near = torch.bmm(q.reshape(rows * kv, rep, head), k.view(rows * kv, t, head).transpose(1, 2))
    p = torch.cat((far.transpose(1, 2), near.view(groups, n, kv, rep, t)), -1).softmax(-1)
    a = torch.bmm(p.view(rows * kv, rep, width + t)[..., width:], v.view(rows * kv, t, head))
    b = torch.bmm(p[..., :width].transpose(1, 2).reshape(groups * kv, n * rep, width), vp.flatten(0, 1))
    a = a.view(groups, n, kv, rep, head) + b.view(groups, kv, n, rep, head).transpose(1, 2)
    return a.view(rows, heads * head)


def look_back_alone(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """softmax(q K + mask) V for one query per response: q [R, heads, head], k and v [R, kv, t, head]; the mask
    [R, 1, P] is for the first columns."""
    (rows, kv, t, head), heads = k.shape, q.shape[1]
    scores = torch.bmm(q.reshape(rows * kv, heads // kv, head), k.view(rows * kv, t, head).transpose(1, 2))
    scores.view(rows, heads, t).narrow(2, 0, mask.shape[2]).add_(mask)
    return torch.bmm(scores.softmax(-1), v.view(rows * kv, t, head)).view(rows, heads * head)
