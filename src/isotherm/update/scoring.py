"""The policy's log-probabilities and entropies of responses that are there already, as a flat stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from isotherm.policy.batch import Batch, pad_prompts
from isotherm.policy.model import Policy
from isotherm.records import Rollout
from isotherm.tokens.local import Local, score_with_loss
from isotherm.tokens.score import Functional, Scores, score
from isotherm.tokens.stream import flatten

Functionals = Mapping[str, Functional] | None


def score_rows(
    policy: Policy,
    rollout: Rollout,
    rows: slice,
    temperature: float,
    functionals: Functionals = None,
    by: Callable[..., Scores] | None = None,
) -> Scores:
    """Scores of the tokens of some rows, differentiable outside `no_grad`."""
    batch, head = batch_of(rollout, rows, policy.device), policy.model.head
    target = flatten(batch.responses, batch.lengths)
    options = {"bias": head.bias, "cap": head.cap, "functionals": functionals}
    return near((by or score)(policy.model.hidden(batch), head.weight, target, temperature, **options))


def near(scores: Scores) -> Scores:
    """The same on the CPU."""
    logprob, entropy, s2, s2l = (x.cpu() for x in scores[:4])
    return Scores(logprob, entropy, s2, s2l, {name: x.cpu() for name, x in scores.extra.items()})


def loss_of_rows(
    policy: Policy, rollout: Rollout, rows: slice, temperature: float, local: Local, functionals: Functionals = None
) -> Tensor:
    """The loss of some rows, with `local` on their scores: see `tokens/local.py`."""
    batch, head = batch_of(rollout, rows, policy.device), policy.model.head
    target = flatten(batch.responses, batch.lengths)
    options = {"bias": head.bias, "cap": head.cap, "functionals": functionals}
    hidden = policy.model.hidden(batch)
    return score_with_loss(hidden, head.weight, target, lambda cut, s: local(cut, near(s)), temperature, **options)[0]


def batch_of(rollout: Rollout, rows: slice, device: torch.device) -> Batch:
    prompts, lengths = pad_prompts([rollout.prompts[g] for g in prompts_of(rollout.group[rows])], device)
    width = int(rollout.length[rows].max())
    responses = torch.from_numpy(rollout.ids[rows, :width]).to(device)
    return Batch(prompts, lengths, responses, torch.from_numpy(rollout.length[rows]).to(device))


def prompts_of(group: np.ndarray) -> np.ndarray:
    """Each prompt once where every group has as many rows as the others, else once per row."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    counts = np.diff(starts, append=len(group))
    return group[starts] if (counts == counts[:1]).all() else group


def pieces(rollout: Rollout, micro: int) -> Iterator[tuple[slice, slice]]:
    """Slices of at most `micro` rows (0: all), each with the slice of its tokens in the flat stream."""
    ends = np.cumsum(rollout.length)
    size = micro or max(1, len(ends))
    for start in range(0, len(ends), size):
        stop = min(start + size, len(ends))
        yield slice(start, stop), slice(int(ends[start - 1]) if start else 0, int(ends[stop - 1]))


@torch.no_grad()
def score_all(
    policy: Policy, rollout: Rollout, micro: int, temperature: float, functionals: Functionals = None
) -> Scores:
    """Scores of all tokens, without a graph."""
    parts = [score_rows(policy, rollout, rows, temperature, functionals) for rows, _ in pieces(rollout, micro)]
    logprob, entropy, s2, s2l = (torch.cat(column) for column in zip(*(part[:4] for part in parts), strict=True))
    extra = {name: torch.cat([part.extra[name] for part in parts]) for name in functionals or {}}
    return Scores(logprob, entropy, s2, s2l, extra)
