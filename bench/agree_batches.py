"""Random batches as padded rectangles, the same as Isotherm's stream, and its loss with both slopes.

Runs in the environments of the peers: nothing is imported but torch and Isotherm's mathematics.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isotherm.objective.factors import bare
from isotherm.objective.interventions.clips import sequence_ratio
from isotherm.objective.method import Decision, Method, decide, loss
from isotherm.records import Tokens
from isotherm.tokens.draws import keys
from isotherm.tokens.stream import flatten, real, spread

BATCHES, SMALL = 200, 20  # per method: of random numbers, and through a small model
DRIFTS = (0.0, 1e-4, 0.01, 0.1, 0.5, 2.0)  # spread of log r
BOUNDS = tuple(math.log(b) for b in (0.8, 0.9, 1.1, 1.2, 1.28, 3.0))  # where clips of the settings lie
VALUES = {
    "plain": "the loss",
    "slopes": "slope log pi and slope H, summed",
    "sum": "the slopes by log pi, and slope H, summed, and the bound where a response is clipped",
}


@dataclass(frozen=True)
class Batch:
    """Rectangles [R, T] in float64, padded on the right; advantage and group [R]."""

    logprob: Tensor
    old: Tensor
    reference: Tensor
    entropy: Tensor
    advantage: Tensor
    group: Tensor
    length: Tensor
    seed: int

    @property
    def mask(self) -> Tensor:
        return real(self.length, self.logprob.shape[1])

    @property
    def tokens(self) -> int:
        return int(self.length.sum())


def draw(seed: int, far: bool = False, drift: float | None = None) -> Batch:
    """2 to 8 groups of 2 to 4 responses of 1 to 48 tokens, a fifth of them with advantage 0; drifts of every size.

    An eighth of the ratios lie at a clip bound, an eighth at 1, unless a drift is given. far: some log-ratios are +-25.
    Entropies are float32 numbers held in float64.
    """
    g = torch.Generator().manual_seed(seed)
    groups = int(torch.randint(2, 9, (), generator=g))
    group = torch.arange(groups).repeat_interleave(torch.randint(2, 5, (groups,), generator=g))
    size = (len(group), int(torch.randint(1, 49, (), generator=g)))
    length = torch.randint(1, size[1] + 1, size[:1], generator=g)
    length[0] = size[1]

    def uniform() -> Tensor:
        return torch.rand(size, generator=g, dtype=torch.float64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape or size, generator=g, dtype=torch.float64)

    logprob = -(8 * uniform() ** 3) - 1e-6
    x = normal() * (DRIFTS[seed % len(DRIFTS)] if drift is None else drift)
    kind, at = uniform(), torch.tensor(BOUNDS, dtype=torch.float64)[torch.randint(len(BOUNDS), size, generator=g)]
    if drift is None and seed % len(DRIFTS):
        x = torch.where(kind < 1 / 8, at, torch.where(kind < 1 / 4, 0.0, x))
    if far:
        x = torch.where(kind > 0.98, torch.where(uniform() < 0.5, 25.0, -25.0), x)
    advantage = normal(len(group)) * (0.1, 1.0, 3.0)[seed // len(DRIFTS) % 3]
    advantage[torch.rand(len(group), generator=g) < 0.2] = 0
    entropy = (3 * uniform() ** 2).float().double()
    reference = logprob + normal() * 2.0
    return Batch(logprob, logprob - x, reference, entropy, advantage, group, length, seed)


def stream(batch: Batch, logprob: Tensor, entropy: Tensor) -> Tokens:
    """The batch as Isotherm sees it, with these [tokens] log-probs and entropies."""
    length = batch.length
    old = flatten(batch.old, length)
    position = torch.cat([torch.arange(n) for n in length.tolist()])
    row, group = spread(torch.arange(len(length)), length), spread(batch.group, length)
    return Tokens(
        logprob=logprob,
        entropy=entropy,
        s2=torch.ones_like(old),
        s2l=torch.zeros_like(old),
        old_logprob=old,
        sampler_logprob=old,
        advantage=spread(batch.advantage, length),
        sequence=row,
        group=group,
        position=position,
        key=keys(batch.seed, group, row, position),
        ref_logprob=flatten(batch.reference, length),
    )


@dataclass(frozen=True)
class Slopes:
    """A loss, and its slopes by log-prob and entropy of each token: [tokens], response after response."""

    loss: float
    logprob: Tensor
    entropy: Tensor
    flat: float = 0.0  # what the peer's loss has of responses that are clipped, which have no slope


def slopes(total: Tensor, logprob: Tensor, entropy: Tensor) -> Slopes:
    first, second = torch.autograd.grad(total, (logprob, entropy), allow_unused=True, materialize_grads=True)
    return Slopes(float(total.detach()), first, second)


def ours(batch: Batch, method: Method) -> Slopes:
    logprob, entropy = (flatten(x, batch.length).requires_grad_() for x in (batch.logprob, batch.entropy))
    tokens = stream(batch, logprob, entropy)
    decision = decide(tokens, method)
    found = slopes(loss(tokens, method, decision), logprob, entropy)
    return dataclasses.replace(found, flat=clipped_value(tokens, method, decision))


def clipped_value(tokens: Tokens, method: Method, decision: Decision) -> float:
    """-sum N b A of the tokens that GSPO's weight stops, b the bound that their response's ratio is clipped to."""
    bounds = next((getattr(part, "keywords", {}) for part in method.weights if bare(part) is sequence_ratio), None)
    if bounds is None:
        return 0.0
    a = tokens.advantage
    bounded = torch.where(a > 0, (1 + bounds["high"]) * a, (1 - bounds["low"]) * a)
    return -float((decision.normalizer * bounded)[decision.weight == 0].sum())


def value(batch: Batch, mine: Slopes, how: str) -> float:
    """Our loss; or, where ours has the peer's slopes and another value by design, the peer's as it follows from ours.

    sg(clip r) A log pi is linear in log pi, so its value is slope times log pi; s A equals the sum of its slopes, and
    clip(s) A has none.
    """
    if how == "plain":
        return mine.loss
    logprob, entropy = (flatten(x, batch.length) for x in (batch.logprob, batch.entropy))
    first = mine.logprob @ logprob if how == "slopes" else mine.logprob.sum() + mine.flat
    return float(first + mine.entropy @ entropy)


def relative(a: Tensor | float, b: Tensor | float) -> float:
    """|a - b| / |b| in the Euclidean norm; 0 where both are 0."""
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    distance, size = float((a - b).norm()), float(b.norm())
    return distance / size if size else (0.0 if distance == 0 else math.inf)


@dataclass(frozen=True)
class Check:
    """One method of a peer beside an expression of ours, in one or more settings that take turns over the batches."""

    name: str
    settings: tuple[tuple[dict[str, Any], str], ...]  # the peer's options, our expression
    value: str = "plain"
    far: bool = False


@dataclass
class Errors:
    """The largest relative errors over the batches so far; None where nothing was compared."""

    batches: int = 0
    active: int = 0  # batches whose slopes are not 0 everywhere
    loss: float | None = None
    logprob: float | None = None
    entropy: float | None = None
    advantage: float | None = None
    small: int = 0  # batches through a small model
    parameters: float | None = None
    notes: dict[str, int] = dataclasses.field(default_factory=dict)

    def raise_to(self, name: str, error: float) -> None:
        setattr(self, name, max(getattr(self, name) or 0.0, error))

    def add(self, batch: Batch, peer: Slopes, mine: Slopes, how: str) -> None:
        self.batches += 1
        self.active += bool(peer.logprob.any())
        self.raise_to("loss", relative(value(batch, mine, how), peer.loss))
        self.raise_to("logprob", relative(mine.logprob, peer.logprob))
        self.raise_to("entropy", relative(mine.entropy, peer.entropy))

    def add_small(self, peer: Tensor, mine: Tensor) -> None:
        self.small += 1
        self.raise_to("parameters", relative(mine, peer))

    def add_advantage(self, peer: Tensor, mine: Tensor) -> None:
        self.batches += 1
        self.active += bool(peer.any())
        self.raise_to("advantage", relative(mine, peer))

    @property
    def worst(self) -> float:
        return max(e or 0.0 for e in (self.loss, self.logprob, self.entropy, self.advantage, self.parameters))


def numbered(check: Check, batches: int) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Seed, options and expression of each batch."""
    for seed in range(batches):
        yield seed, *check.settings[seed // len(DRIFTS) % len(check.settings)]


def each(checks: tuple[Check, ...], run: Callable[[Check], Errors]) -> list[dict[str, Any]]:
    """A row for each check, with what was compared as its value and the settings in which it ran."""
    rows = []
    for check in checks:
        errors = run(check)
        print(f"{check.name}: {errors.worst:.1e}", file=sys.stderr, flush=True)
        settings = [{"theirs": options, "ours": expression} for options, expression in check.settings]
        row = {"name": check.name} | dataclasses.asdict(errors)
        rows.append(row | {"value": VALUES[check.value], "settings": settings})
    return rows


def write(out: Path, packages: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    versions = {name: version(name) for name in packages}
    out.write_text(json.dumps({"versions": versions, "checks": rows}))
