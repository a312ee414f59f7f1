"""Synthetic streams of tokens, every number of which comes from one softmax over a small vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from contracts.table import EXPRESSIONS, OFF, ON
from isotherm.objective.compose import method as named_method
from isotherm.objective.method import Decision, Method, loss
from isotherm.records import Tokens
from isotherm.tokens.draws import keys

LENGTHS = (7, 1, 12, 30, 5, 9, 22, 1, 16, 3, 11, 8)
FUNCTIONALS = {name: f for e in (*EXPRESSIONS, *OFF, *ON) for name, f in named_method(e).functionals.items()}
GROUPS = (4, 4, 4, 9, 9, 2, 2, 2, 2, 7, 7, 7)  # of unequal size, numbers with gaps


def batch(
    seed: int = 0,
    lengths: Sequence[int] = LENGTHS,
    groups: Sequence[int] = GROUPS,
    drift: float = 0.4,
    spread: float = 3.0,
) -> Tokens:
    """float64 tokens under a policy that has drifted from the one that scored them; a fifth have advantage 0."""
    generator = torch.Generator().manual_seed(seed)
    size, length = sum(lengths), torch.tensor(lengths, dtype=torch.int64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    logits, target = spread * normal(size, 8), torch.randint(8, (size,), generator=generator)
    logp = logits.log_softmax(-1)
    chosen = logp.gather(1, target[:, None]).squeeze(1)
    old = chosen + drift * normal(size)
    advantage = 1.5 * normal(len(lengths))
    advantage[::5] = 0
    sequence = torch.arange(len(lengths)).repeat_interleave(length)
    position = torch.cat([torch.arange(n) for n in lengths]) if lengths else sequence
    group = torch.tensor(groups, dtype=torch.int64).repeat_interleave(length)
    return Tokens(
        logprob=chosen,
        entropy=-(logp.exp() * logp).sum(-1),
        s2=logp.exp().square().sum(-1),
        s2l=(logp.exp().square() * logp).sum(-1),
        old_logprob=old,
        sampler_logprob=old + 0.01 * normal(size),
        advantage=advantage.repeat_interleave(length),
        sequence=sequence,
        group=group,
        position=position,
        key=keys(seed, group, sequence, position),
        ref_logprob=chosen + drift * normal(size),
        old_entropy=-(logp.exp() * logp).sum(-1) * (drift * normal(size) / 4).exp(),
        extra={name: f(logp) for name, f in FUNCTIONALS.items()},
    )


def tied(tokens: Tokens) -> Tokens:
    """The same with few distinct log-probs and advantages, so that only keys settle who is chosen."""
    return dataclasses.replace(tokens, logprob=tokens.logprob.round(), advantage=tokens.advantage.round())


def cuts(tokens: Tokens, micro: int) -> list[slice]:
    """Slices of the stream with `micro` responses each; 0 is all of them."""
    length = tokens.sequence.unique_consecutive(return_counts=True)[1]
    sizes = [int(part.sum()) for part in length.split(micro or len(length))]
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def permuted(tokens: Tokens, order: Iterable[int]) -> tuple[Tokens, Tensor]:
    """The responses in another order and with other numbers, and where each token came from."""
    rows = [(tokens.sequence == s).nonzero().squeeze(1) for s in order]
    index = torch.cat(rows)
    moved = tokens.map(lambda x: x[index])
    number = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(row) for row in rows]))
    return dataclasses.replace(moved, sequence=number), index


def with_leaves(tokens: Tokens) -> Tokens:
    """The same tokens with log-probs, entropies and functionals that gather gradients."""
    leaves = {name: getattr(tokens, name).clone().requires_grad_() for name in ("logprob", "entropy")}
    extra = {name: x.clone().requires_grad_() for name, x in tokens.extra.items()}
    return dataclasses.replace(tokens, **leaves, extra=extra)


def slopes(tokens: Tokens, method: Method, decision: Decision, micro: int = 0) -> tuple[Tensor, Tensor]:
    """The loss and its gradient [2 + functionals, tokens] with respect to log-prob, entropy and each functional."""
    total, leaves = torch.zeros((), dtype=torch.float64), with_leaves(tokens)
    for cut in cuts(tokens, micro) if len(tokens) else [slice(0, 0)]:
        part = loss(leaves.map(lambda x, c=cut: x[c]), method, decision.where(cut))
        total = total + part.detach()
        part.backward()
    gathered = [torch.zeros_like(x) if x.grad is None else x.grad for x in differentiable(leaves)]
    return total, torch.stack(gathered)


def differentiable(tokens: Tokens) -> list[Tensor]:
    return [tokens.logprob, tokens.entropy, *tokens.extra.values()]


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b| in the Euclidean norm."""
    return float((a - b).norm() / b.norm().clamp_min(torch.finfo(b.dtype).tiny))
