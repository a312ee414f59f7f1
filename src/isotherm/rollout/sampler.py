"""Policy x prompts -> groups of responses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm import native
from isotherm.policy.batch import Batch, Head, pad_prompts
from isotherm.policy.decoder import Decoder
from isotherm.policy.model import Policy
from isotherm.tokens.draws import keys, uniform
from isotherm.tokens.score import capped, log_softmax, product
from isotherm.tokens.stream import real

ROWS = 1024  # responses sampled at once
STRETCH = 256  # of `native/draw.c`


@dataclass(frozen=True)
class Sampling:
    """How to draw a token. top_p = 1 and top_k = 0 are off."""

    max_new: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


class Sampled(NamedTuple):
    """[R, T], zero beyond `length`; logprob is that of the distribution drawn from, the others those of all tokens."""

    ids: Tensor
    length: Tensor
    finished: Tensor
    logprob: Tensor
    entropy: Tensor
    s2: Tensor  # sum_v pi_v^2
    s2l: Tensor  # sum_v pi_v^2 log pi_v


def sample(policy: Policy, prompts: Sequence[Sequence[int]], n: int, rule: Sampling, key: Tensor) -> Sampled:
    """n responses to each prompt; `key` [len(prompts) * n] decides each response's draws, whatever the batch."""
    groups = max(1, ROWS // n)
    parts = [
        sample_rows(policy, prompts[i : i + groups], n, rule, key[i * n : (i + groups) * n])
        for i in range(0, len(prompts), groups)
    ]
    width = max(part.ids.shape[1] for part in parts)
    padded = [Sampled(*(widen(x, width) for x in part)) for part in parts]
    return Sampled(*(torch.cat(column) for column in zip(*padded, strict=True)))


def widen(x: Tensor, width: int) -> Tensor:
    return x if x.dim() == 1 else torch.nn.functional.pad(x, (0, width - x.shape[1]))


@torch.no_grad()
def sample_rows(policy: Policy, prompts: Sequence[Sequence[int]], n: int, rule: Sampling, key: Tensor) -> Sampled:
    """In inference mode where the model is ours: others may keep tensors made there, which training cannot use."""
    with torch.inference_mode() if isinstance(policy.module, Decoder) else nullcontext():
        return draw_rows(policy, prompts, n, rule, key)


def draw_rows(policy: Policy, prompts: Sequence[Sequence[int]], n: int, rule: Sampling, key: Tensor) -> Sampled:
    rows, room, device = len(prompts) * n, rule.max_new, policy.device
    ids, lengths = pad_prompts(prompts, device)
    sampler = policy.frozen()
    empty = torch.zeros(rows, 1, dtype=torch.int64, device=device)
    cache, hidden = sampler.start(Batch(ids, lengths, empty, empty[:, 0]), room)
    u = uniform(keys(key, torch.arange(room)[:, None]))
    head = sampler.head
    drawing, t = Drawing(u, len(head.weight), policy.text.ends), 0
    row = torch.arange(rows)  # the responses in the batch; some of them are finished
    for t in range(room):
        chosen, ended = draw(hidden, head, rule, drawing, t, row)
        if ended:
            live = ~drawing.finished[row]
            keep = some_of(live, cache.step)
            if live.float().mean() < cache.sparse and len(keep) < len(row):
                cache.keep(keep.to(device))
                row, chosen = row[keep], chosen[keep]
            if not live.any():
                break
        if t + 1 < room:
            hidden = sampler.advance(cache, chosen.to(device))
    return drawing.upto(t + 1)


class Drawing:
    """What is drawn, [T, R]: time first, so that a step writes what lies side by side."""

    def __init__(self, u: Tensor, vocabulary: int, ends: Sequence[int]) -> None:
        room, rows = u.shape
        self.u = u  # [T, R] in [0, 1)
        self.ids = torch.zeros(room, rows, dtype=torch.int64)
        self.statistics = torch.zeros(4, room, rows)  # log-prob, H, S2, S2L
        self.finished, self.length = torch.zeros(rows, dtype=torch.bool), torch.full((rows,), room)
        self.ends = torch.tensor(ends)
        self.sums = torch.empty(torch.get_num_threads(), vocabulary // STRETCH + 1, dtype=torch.float64)
        tensors = self.ends, u, *self.columns, self.finished, self.length, self.sums
        self.table = torch.tensor([rows, vocabulary, len(ends), *(x.data_ptr() for x in tensors)])  # struct drawing

    @property
    def columns(self) -> tuple[Tensor, ...]:
        return self.ids, *self.statistics

    def put(self, t: int, row: Tensor, chosen: Tensor, statistics: Tensor) -> int:
        """One token of these responses; returns how many of them it ended."""
        place = slice(None) if len(row) == len(self.length) else row
        self.ids[t, place], self.statistics[:, t, place] = chosen, statistics
        done = chosen == self.ends if len(self.ends) == 1 else torch.isin(chosen, self.ends)
        if not done.any():
            return 0
        ended = row[done & ~self.finished[row]]
        self.length[ended], self.finished[ended] = t + 1, True
        return len(ended)

    def upto(self, width: int) -> Sampled:
        inside = real(self.length, width)
        ids, *rest = (x[:width].T.contiguous().masked_fill_(~inside, 0) for x in self.columns)
        return Sampled(ids, self.length, self.finished, *rest)


def some_of(live: Tensor, step: int) -> Tensor:
    """The live rows in their order, with finished ones up to a multiple of `step`."""
    order = live.logical_not().to(torch.int8).argsort(stable=True)
    count = int(live.sum())
    return order[: min(len(live), count + -count % step)].sort().values


def draw(hidden: Tensor, head: Head, rule: Sampling, drawing: Drawing, t: int, row: Tensor) -> tuple[Tensor, int]:
    """Draws and notes token t of each of these responses; returns the tokens, and how many responses ended."""
    if not rule.top_k and rule.top_p >= 1 and native.fits(hidden, head.weight) and hidden.dtype == torch.float32:
        return draw_compiled(hidden, head, rule.temperature, drawing, t, row)
    u = drawing.u[t]
    chosen, statistics = draw_plain(hidden, head, rule, u if len(row) == len(u) else u[row])
    return chosen, drawing.put(t, row, chosen, statistics)


def draw_plain(hidden: Tensor, head: Head, rule: Sampling, u: Tensor) -> tuple[Tensor, Tensor]:
    """One token per row by the inverse of the cumulative distribution at u; its log-prob, and H, S2, S2L of the row."""
    logp = log_softmax(hidden, head.weight, head.bias, head.cap, rule.temperature)
    p = logp.exp()
    finite = logp.clamp_min(torch.finfo(logp.dtype).min)  # 0 log 0 = 0
    dot = torch.linalg.vecdot
    moments = dot(p, finite).neg_(), dot(p, p), dot(p, p * finite)
    whole = not rule.top_k and rule.top_p >= 1
    total = (p if whole else truncate(p, rule)).cumsum(-1, dtype=torch.float64)
    mass = total[:, -1:]
    chosen = torch.searchsorted(total, u.to(total.device)[:, None] * mass, right=True).clamp_max_(p.shape[1] - 1)
    logprob = logp.gather(1, chosen) if whole else (p.gather(1, chosen) / mass).log().to(p.dtype)
    return chosen.squeeze(1).cpu(), torch.stack((logprob.squeeze(1), *moments)).cpu()


def draw_compiled(
    hidden: Tensor, head: Head, temperature: float, drawing: Drawing, t: int, row: Tensor
) -> tuple[Tensor, int]:
    """The same from all tokens in one pass over the logits (`native/draw.c`)."""
    logits = capped(product(hidden, head.weight, head.bias), head.cap)
    chosen = torch.empty(len(row), dtype=torch.int64)
    ended = native.call("draw", drawing.table, logits, row, len(row), t, float(temperature), chosen)
    return chosen, ended


def truncate(p: Tensor, rule: Sampling) -> Tensor:
    """p with the tokens outside top-k and top-p at 0; not renormalised."""
    if rule.top_k:
        smallest = p.topk(min(rule.top_k, p.shape[1])).values[:, -1:]
        p = p.masked_fill(p < smallest, 0)
    if rule.top_p < 1:
        sorted_p, order = p.sort(descending=True)
        before = sorted_p.cumsum(-1) - sorted_p
        outside = before >= rule.top_p * p.sum(-1, keepdim=True)
        p = p.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), 0)
    return p
