"""Decoding steps as CUDA graphs: one launch instead of some twenty per layer, for which small models would wait.

A graph repeats the same operations at the same addresses. So keys and values have places for all columns from the
start, columns not yet written are masked, and the column to write, the positions and the ids are tensors. Prompts are
copied before each response, and the memory is kept for the next batch: both cost more of it than the ordinary cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from isotherm.policy.attention import Cache, look_back_alone
from isotherm.policy.batch import ROUND, Batch, Head

if TYPE_CHECKING:
    from isotherm.policy.decoder import Decoder

Step = Callable[[], Tensor]

COLUMNS = 64  # their number is rounded up to a multiple: fewer captures


class Fixed:
    """Keys and values, [2, rows, kv_heads, columns, head_width] for each layer, and what a step reads beside them."""

    def __init__(self, decoder: Decoder, rows: int, columns: int) -> None:
        s, like = decoder.shape, decoder.embed.detach()
        self.rows, self.columns, self.turns = rows, columns, decoder.turns(columns)
        self.own = [like.new_empty(2, rows, s.kv_heads, columns, s.head_width) for _ in range(s.layers)]
        self.mask = like.new_empty(rows, 1, columns)  # -inf for padding and for columns to come
        self.ids, self.position, self.column = (like.new_zeros(n, dtype=torch.int64) for n in (rows, rows, 1))

    def load(self, cache: Cache) -> None:
        """From an ordinary cache that holds the prompts before the responses."""
        rows, used = len(cache.position), cache.used
        for mine, (k, v) in zip(self.own, cache.own, strict=True):
            mine.zero_()[:, :rows, :, :used] = torch.stack((k[..., :used].transpose(2, 3), v[:, :, :used]))
        self.mask.fill_(-torch.inf)[:rows, :, :used] = 0
        if cache.mask is not None:
            self.mask[:rows, :, : cache.start] = cache.mask
        self.position[:rows] = cache.position
        self.column.fill_(used)

    def keep(self, rows: Tensor) -> None:
        """These responses move to the front."""
        n = len(rows)
        for own in self.own:
            own[:, :n] = own[:, rows]
        self.mask[:n], self.position[:n] = self.mask[rows], self.position[rows]


class Running:
    """The front rows of a fixed cache: the responses that go on."""

    sparse, step = 0.5, ROUND

    def __init__(self, fixed: Fixed, rows: int) -> None:
        self.fixed, self.rows = fixed, rows

    def keep(self, rows: Tensor) -> None:
        self.fixed.keep(rows)
        self.rows = len(rows)


class Graphed:
    """A frozen decoder whose `advance` is captured once for each number of rows; on a CPU the same steps run plainly.

    The states that `advance` returns are overwritten by the next call.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder, self.addresses = decoder, addresses(decoder)
        self.fixed: Fixed | None = None
        self.steps: dict[int, Step] = {}

    @property
    def head(self) -> Head:
        return self.decoder.head

    def hidden(self, batch: Batch) -> Tensor:
        return self.decoder.hidden(batch)

    def frozen(self) -> Graphed:
        return self

    def renew(self, decoder: Decoder) -> None:
        """The matrices of another frozen twin, at the addresses that the graphs know."""
        for mine, new in zip(self.decoder.weights(), decoder.weights(), strict=True):
            for old, now in zip(mine, new, strict=True):
                if old is not None and now is not None and old is not now:
                    old.copy_(now)

    @torch.no_grad()
    def start(self, batch: Batch, room: int) -> tuple[Running, Tensor]:
        cache, states = self.decoder.start_plain(batch, room)
        rows = len(batch.responses)
        if cache.prompt:
            cache.keep(torch.arange(rows, device=states.device))
        fixed = self.reserve(rows, cache.used + room)
        fixed.load(cache)
        return Running(fixed, rows), states

    def reserve(self, rows: int, columns: int) -> Fixed:
        """A cache at least this large; the graphs of a smaller one go with it."""
        columns, held = columns + -columns % COLUMNS, self.fixed
        if held is not None and rows <= held.rows and columns <= held.columns:
            return held
        if held is not None:
            rows, columns = max(rows, held.rows), max(columns, held.columns)
        self.steps.clear()
        self.fixed = held = None  # its memory is free before the larger one is asked for
        self.fixed = Fixed(self.decoder, rows, columns)
        return self.fixed

    @torch.no_grad()
    def advance(self, cache: Running, ids: Tensor) -> Tensor:
        cache.fixed.ids[: cache.rows] = ids
        with torch.cuda.device_of(cache.fixed.ids):
            if cache.rows not in self.steps:
                step = partial(advance, self.decoder, cache.fixed, cache.rows)
                self.steps[cache.rows] = captured(step, cache.fixed, cache.rows) if cache.fixed.ids.is_cuda else step
            return self.steps[cache.rows]()


def advance(decoder: Decoder, fixed: Fixed, rows: int) -> Tensor:
    """`Decoder.advance` of the front rows, the column and the positions being tensors."""
    position, mask = fixed.position[:rows], fixed.mask[:rows]
    mask.index_fill_(2, fixed.column, 0.0)
    x, turn = decoder.embed[fixed.ids[:rows]], fixed.turns[position]
    for own, w in zip(fixed.own, decoder.weights(), strict=True):
        q, key, value = decoder.attend_inputs(w, x, turn)
        own[:, :rows].index_copy_(3, fixed.column, torch.stack((key, value)).unsqueeze(3))
        k, v = own[:, :rows].unbind()
        x = decoder.finish_layer(w, x, look_back_alone(q, k.transpose(2, 3), v, mask))
    fixed.column.add_(1)
    position.add_(1)
    return decoder.last_norm(x)


def captured(step: Step, fixed: Fixed, rows: int) -> Step:
    """The step as a graph. It runs once before, since libraries set themselves up in a first call, and is taken back:
    what it wrote into the cache the next step writes again."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
        fixed.column.sub_(1)
        fixed.position[:rows].sub_(1)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        states = step()

    def replay() -> Tensor:
        graph.replay()
        return states

    return replay


def addresses(decoder: nn.Module) -> tuple[int, ...]:
    return tuple(p.data_ptr() for p in decoder.parameters())


HELD: WeakKeyDictionary[nn.Module, Graphed] = WeakKeyDictionary()


def graphed(decoder: nn.Module, twin: Decoder) -> Graphed:
    """The decoder's graphs with the matrices of its new frozen twin; made anew where its parameters have moved."""
    held = HELD.get(decoder)
    if held is not None and held.addresses == addresses(twin):
        held.renew(twin)
        return held
    HELD[decoder] = Graphed(twin)
    return HELD[decoder]
