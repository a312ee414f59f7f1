"""What goes into a policy: prompts, each with the same number of responses, padded to rectangles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

ROUND = 64
TOKENS = 8192  # at most about so many go through the layers together: bounds the memory


@dataclass(frozen=True)
class Head:
    """logits = cap * tanh((hidden @ weight.T + bias) / cap); no bias and no cap for most models."""

    weight: Tensor  # [vocabulary, width]
    bias: Tensor | None = None
    cap: float | None = None


@dataclass(frozen=True)
class Batch:
    """Response r belongs to prompt r // (R / G): prompts are padded on the left, responses on the right."""

    prompts: Tensor  # [G, P] int64
    prompt_lengths: Tensor  # [G] int64
    responses: Tensor  # [R, T] int64
    lengths: Tensor  # [R] int64

    @property
    def n(self) -> int:
        return len(self.responses) // len(self.prompts)

    def chunks(self) -> Iterator[Batch]:
        """A few groups at a time, in their order, as wide as their longest response."""
        (groups, width), room, n = self.prompts.shape, self.responses.shape[1] - 1, self.n
        size = max(1, TOKENS // (width + n * max(1, room)))
        for start in range(0, groups, size):
            g, r = slice(start, start + size), slice(start * n, (start + size) * n)
            lengths = self.lengths[r]
            yield Batch(self.prompts[g], self.prompt_lengths[g], self.responses[r, : int(lengths.max())], lengths)

    def prompt_positions(self) -> Tensor:
        """0 for the first real token of each prompt; padding, which nobody sees, also has 0."""
        width = self.prompts.shape[1]
        column = torch.arange(width, device=self.prompts.device)
        return (column - (width - self.prompt_lengths)[:, None]).clamp(min=0)

    def response_positions(self) -> Tensor:
        """Of the response tokens that are fed, which are all but the last."""
        column = torch.arange(self.responses.shape[1] - 1, device=self.responses.device)
        return self.prompt_lengths.repeat_interleave(self.n)[:, None] + column

    def hidden_columns(self) -> Tensor:
        """[G, P] true where a prompt is padding."""
        width = self.prompts.shape[1]
        return torch.arange(width, device=self.prompts.device) < (width - self.prompt_lengths)[:, None]

    def packing(self) -> Packing:
        """Where the real tokens stand among themselves, and where each state that predicts a response token is."""
        room = self.responses.shape[1]
        column = torch.arange(room, device=self.responses.device)
        prompt, fed = ~self.hidden_columns(), column[:-1] < (self.lengths - 1)[:, None]
        count = int(prompt.sum())
        prompt_slots = (prompt.flatten().cumsum(0) - 1).view(prompt.shape)
        fed_slots = count + (fed.flatten().cumsum(0) - 1).view(fed.shape)
        first = prompt_slots[:, -1:].repeat_interleave(self.n, 0)
        states = torch.cat((first, fed_slots), 1)[column < self.lengths[:, None]]
        grid = torch.cat((torch.where(prompt, prompt_slots, 0).flatten(), torch.where(fed, fed_slots, 0).flatten()))
        ids = torch.cat((self.prompts[prompt], self.responses[:, :-1][fed]))
        position = torch.cat((self.prompt_positions()[prompt], self.response_positions()[fed]))
        places = torch.cat((prompt.flatten(), fed.flatten())).nonzero().squeeze(1)
        return Packing(rounded_up(ids), rounded_up(position), grid, rounded_up(places), states)

    def padded(self) -> bool:
        return bool((self.prompt_lengths < self.prompts.shape[1]).any())

    def padding_mask(self, dtype: torch.dtype) -> Tensor:
        """[G, 1, P] to add to scores against the prompt: blind to padding."""
        return blinders(self.hidden_columns()[:, None], dtype)

    def prompt_mask(self, dtype: torch.dtype) -> Tensor:
        """[G, P, P] to add to scores: causal, blind to padding (which sees itself, so that softmax is finite)."""
        width = self.prompts.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=self.prompts.device).triu(1)
        itself = torch.eye(width, dtype=torch.bool, device=self.prompts.device)
        return blinders((causal | self.hidden_columns()[:, None]) & ~itself, dtype)

    def response_mask(self, dtype: torch.dtype) -> Tensor:
        """[R, T-1, P + T-1] to add to the scores of response tokens; [1, T-1, P + T-1] where no prompt is padded."""
        room, columns = self.responses.shape[1] - 1, self.hidden_columns()
        columns = columns.repeat_interleave(self.n, 0) if columns.any() else columns[:1]
        causal = torch.ones(room, room, dtype=torch.bool, device=columns.device).triu(1).expand(len(columns), -1, -1)
        return blinders(torch.cat((columns[:, None].expand(-1, room, -1), causal), -1), dtype)


def blinders(blind: Tensor, dtype: torch.dtype) -> Tensor:
    """-inf where `blind`, else 0."""
    return torch.zeros(blind.shape, dtype=dtype, device=blind.device).masked_fill_(blind, -math.inf)


class Packing(NamedTuple):
    """The tokens that are fed: of the prompts, then of the responses, then copies of place 0 up to a round number.

    Products of bfloat16 matrices are compiled once for every number of rows, which costs more than the few rows more.
    """

    ids: Tensor  # [N]
    position: Tensor  # [N] within prompt and response
    grid: Tensor  # [G P + R (T - 1)] the token at each place of the rectangles; unseen padding takes the first
    places: Tensor  # [N] the place of each token in the rectangles
    states: Tensor  # [response tokens] the token whose state predicts it


def rounded_up(x: Tensor, step: int = ROUND) -> Tensor:
    """x with zeros up to a multiple of `step` entries."""
    return torch.nn.functional.pad(x, (0, -len(x) % step))


def pad_prompts(prompts: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Left-padded ids and lengths."""
    lengths = torch.tensor([len(p) for p in prompts])
    width = int(lengths.max())
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[width - len(prompt) :] = torch.tensor(prompt)
    return ids.to(device), lengths.to(device)
