"""Attention as batched products: heads that share keys, and responses that share a prompt, share a product.

At the lengths of small models this is several times faster on a CPU than its attention kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.policy.batch import ROUND, Batch
from isotherm.policy.kernels import attend

Pair = tuple[Tensor, Tensor]  # keys [B, kv_heads, head_width, columns] and values [B, kv_heads, columns, head_width]


class Cache:
    """Keys and values of each layer: `own` of every response so far, and `prompt` of the prompts, each shared by its
    `n` responses, until `keep` copies them before the responses."""

    sparse, step = 0.5, ROUND  # `keep` copies: worth it for few that go on, a round number of them

    def __init__(self, prompt: list[Pair], turns: Tensor, batch: Batch, room: int) -> None:
        self.prompt, self.turns, self.n, self.used, self.start = prompt, turns, batch.n, 0, batch.prompts.shape[1]
        self.position = batch.prompt_lengths.repeat_interleave(self.n)  # [R] of the next token
        self.mask = batch.padding_mask(turns.real.dtype) if batch.padded() else None  # [G, 1, P]
        self.own = [pair_like(k, v, len(batch.responses), room) for k, v in prompt]

    def keep(self, rows: Tensor) -> None:
        """Only these responses go on."""
        width = self.start if self.prompt else 0
        for layer, (old_k, old_v) in enumerate(self.own):
            k, v = pair_like(old_k, old_v, len(rows), width + old_v.shape[2])
            if self.prompt:
                k[..., :width], v[:, :, :width] = (x[rows // self.n] for x in self.prompt[layer])
            now = slice(width, width + self.used)
            k[..., now], v[:, :, now] = old_k[rows, ..., : self.used], old_v[rows, :, : self.used]
            self.own[layer] = k, v
        self.mask = None if self.mask is None else self.mask[rows // self.n]
        self.used += width
        self.prompt, self.position, self.n = [], self.position[rows], 1

    def attend(self, layer: int, q: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Appends keys and values [R, kv, head] of one token per response, whose queries are q [R, heads, head]."""
        (k, v), now = self.own[layer], self.used
        k.select(3, now).copy_(key)
        v.select(2, now).copy_(value)
        k, v = k.narrow(3, 0, now + 1), v.narrow(2, 0, now + 1)
        if self.prompt:
            return look_back(q, *self.prompt[layer], k, v, self.mask, self.n)
        return look_back_alone(q, k, v, self.mask)


def pair_like(k: Tensor, v: Tensor, rows: int, columns: int) -> Pair:
    """Room for so many rows and columns."""
    _, heads, _, width = v.shape
    return k.new_empty(rows, heads, width, columns), v.new_empty(rows, heads, columns, width)


def spread(mask: Tensor, kv: int, rep: int) -> Tensor:
    """[B, T, S] -> [B kv, rep T, S] for heads that share keys; [1, T, S] -> [1, rep T, S]."""
    mask = mask[:, None, None].expand(-1, kv if len(mask) > 1 else 1, rep, -1, -1)
    return mask.flatten(2, 3).flatten(0, 1)


def by_head(x: Tensor) -> Tensor:
    """[B, S, kv, head] -> [B, kv, S, head]."""
    return x.transpose(1, 2).contiguous()


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, kind: torch.dtype) -> Tensor:
    """softmax(q K + mask) V: q [B, T, heads, head], k and v [B, kv, S, head], mask of `spread` -> [B T, heads head]."""
    (b, t, heads, head), kv = q.shape, k.shape[1]
    rep = heads // kv
    q = q.view(b, t, kv, rep, head).permute(0, 2, 3, 1, 4).reshape(b * kv, rep * t, head)
    a = attend(q, k.flatten(0, 1), v.flatten(0, 1), mask, kind)
    return a.view(b, kv, rep, t, head).permute(0, 3, 1, 2, 4).reshape(b * t, heads * head)


def look_back(q: Tensor, kp: Tensor, vp: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, n: int) -> Tensor:
    """softmax([q K_prompt + mask, q K]) [V_prompt, V] for one query per response: q [R, heads, head], a pair of the
    prompts and one of the responses."""
    (groups, kv, width, head), (rows, heads, _), t = vp.shape, q.shape, v.shape[2]
    rep = heads // kv
    shared = q.view(groups, n, kv, rep, head).transpose(1, 2).reshape(groups * kv, n * rep, head)
    far = torch.bmm(shared, kp.flatten(0, 1)).view(groups, kv, n, rep, width)
    if mask is not None:
        far += mask[:, :, None, None]
    near = torch.bmm(q.reshape(rows * kv, rep, head), k.view(rows * kv, head, t))
    p = torch.cat((far.transpose(1, 2), near.view(groups, n, kv, rep, t)), -1).softmax(-1)
    a = torch.bmm(p.view(rows * kv, rep, width + t)[..., width:], v.view(rows * kv, t, head))
    b = torch.bmm(p[..., :width].transpose(1, 2).reshape(groups * kv, n * rep, width), vp.flatten(0, 1))
    a = a.view(groups, n, kv, rep, head) + b.view(groups, kv, n, rep, head).transpose(1, 2)
    return a.view(rows, heads * head)


def look_back_alone(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q K + mask) V for one query per response: q [R, heads, head], a pair of the responses; the mask
    [R, 1, P] is for the first columns."""
    (rows, kv, t, head), heads = v.shape, q.shape[1]
    scores = torch.bmm(q.reshape(rows * kv, heads // kv, head), k.view(rows * kv, head, t))
    if mask is not None:
        scores.view(rows, heads, t).narrow(2, 0, mask.shape[2]).add_(mask)
    return torch.bmm(scores.softmax(-1), v.view(rows * kv, t, head)).view(rows, heads * head)
