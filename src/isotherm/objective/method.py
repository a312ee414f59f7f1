"""The whole framework: a method is a choice in eight slots; `decide` on the batch, differentiate `loss` on the token.

loss = - sum_t N_t w_t f(r_t, A_t) + sum_k sum_t N_t c_kt cost_k(t)
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isotherm.advantages.estimators import grpo
from isotherm.objective.deals import in_place
from isotherm.objective.factors import Part, bare, factors_of
from isotherm.objective.functionals import functionals_of
from isotherm.objective.normalizers import token_mean
from isotherm.objective.surrogates import ppo_clip
from isotherm.own import called, decided, of_states, packaged
from isotherm.records import Tokens
from isotherm.tokens.score import Functional

Slots = dict[str, Any]  # those that a term of an expression fills, by the name of Method's field


@dataclass(frozen=True)
class Penalty:
    """cost(tokens) is differentiated; coefficient(tokens) is decided on the batch, without gradient.

    Its normalizer is the method's unless it has its own.
    """

    cost: Part
    coefficient: Part
    normalizer: Part | None = None

    def decide(self, tokens: Tokens, normalizer: Tensor) -> Tensor:
        """c, or c times its own N over the method's."""
        c = decided(self.coefficient, tokens)
        return c * decided(self.normalizer, tokens) / normalizer if self.normalizer else c


@dataclass(frozen=True)
class Control:
    """Moves one knob after every step. `update(state, measured) -> state`; the knob takes state["value"]."""

    knob: str  # part.parameter, e.g. "par.pos"
    start: float
    update: Callable[[dict[str, Any], Measured], dict[str, Any]]
    measure: Part | None = None  # tokens -> a number; its mean over the mini-batches is `Measured.own`

    def init(self) -> dict[str, Any]:
        return {"value": self.start}


class Measured(NamedTuple):
    """What a control may look at, in `step` of `steps`. Noise and change are there for the thermostat."""

    step: int
    steps: int
    entropy: float
    noise: float = 0.0  # standard error of the entropy
    change: Callable[[dict[str, float]], float] = lambda _: 0.0  # knobs -> first-order change of H in this step
    own: float | None = None  # of the control's measure; None where no tokens were trained on

    @property
    def done(self) -> float:
        """How far the step to come is: 0 in the first, 1 in the last."""
        return min(1.0, self.step / max(1, self.steps - 1))


@dataclass(frozen=True)
class Method:
    """Every slot has an identity: no shape, no weights, no penalties, no controls, the plain token mean."""

    name: str = "grpo"
    advantage: Part = grpo  # (reward, group) -> [responses]
    shape: tuple[Part, ...] = ()  # (tokens, advantage) -> advantage
    weights: tuple[Part, ...] = ()  # tokens -> weight, multiplied
    surrogate: Part = field(default=functools.partial(ppo_clip, low=0.2, high=0.2))  # (tokens, advantage) -> f(r, A)
    penalties: tuple[Penalty, ...] = ()
    normalizer: Part = token_mean  # tokens -> N
    deal: Part = in_place  # tokens -> whose weight, coefficients and change of the advantage each token takes
    controls: tuple[Control, ...] = ()

    @property
    def on_batch(self) -> tuple[Part, ...]:
        """The parts that `decide` evaluates."""
        return (*self.shape, *self.weights, *(p.coefficient for p in self.penalties), self.normalizer, self.deal)

    @property
    def factors(self) -> frozenset[str]:
        """Which of the four factors of the entropy change the method reads (arXiv 2510.10150)."""
        parts = (self.advantage, *self.on_batch, self.surrogate, *(p.cost for p in self.penalties))
        return frozenset().union(*(factors_of(part) for part in parts))

    @property
    def needs_current(self) -> bool:
        """Whether `decide` looks at the policy, and not at the advantages alone."""
        return bool(self.functionals) or any(factors_of(part) - {"advantage"} for part in self.on_batch)

    @property
    def always_current(self) -> bool:
        """Whether a part makes sense under the current policy only, as a ratio that is part of the loss.

        Functionals do: nothing else is scored with them.
        """
        return bool(self.functionals) or any(getattr(bare(part), "always_current", False) for part in self.on_batch)

    @property
    def functionals(self) -> dict[str, Functional]:
        """The functionals of the whole next-token distribution that its parts read, by name."""
        costs, measures = (p.cost for p in self.penalties), (c.measure for c in self.controls if c.measure)
        parts = (*self.on_batch, *costs, *measures)
        found = {name: f for part in parts for name, f in functionals_of(part).items()}
        return {name: f if packaged(f) else functools.partial(of_states, f) for name, f in found.items()}

    @property
    def without_functionals(self) -> Method:
        """The method without the penalties that read functionals: what the sampler's own numbers are enough for."""
        kept = tuple(p for p in self.penalties if not (functionals_of(p.cost) or functionals_of(p.coefficient)))
        return dataclasses.replace(self, penalties=kept)

    def with_knob(self, knob: str, value: float) -> Method:
        """The method with one hyper-parameter replaced, also where parts take it from one another."""
        swap = functools.partial(set_knob, knob=knob, value=value)
        penalties = tuple(Penalty(swap(p.cost), swap(p.coefficient), p.normalizer) for p in self.penalties)
        return dataclasses.replace(
            self,
            shape=tuple(map(swap, self.shape)),
            weights=tuple(map(swap, self.weights)),
            surrogate=swap(self.surrogate),
            penalties=penalties,
        )


def knob_value(method: Method, knob: str) -> float | None:
    """The value of a hyper-parameter, None where the method has no part of that name."""
    name, parameter = knob.split(".")
    parts = (*method.on_batch, method.surrogate, *(p.cost for p in method.penalties))
    found = [p.keywords[parameter] for p in parts if bare(p).__name__ == name and isinstance(p, functools.partial)]
    return float(found[0]) if found else None


class Taken(float):
    """A number that a part takes from another part's hyper-parameter, `knob`, and that moves with it."""

    knob: str

    def __new__(cls, value: float, knob: str = "") -> Taken:
        self = super().__new__(cls, value)
        self.knob = knob
        return self


def set_knob(part: Part, *, knob: str, value: float) -> Part:
    name, parameter = knob.split(".")
    if bare(part).__name__ == name:
        return functools.partial(part, **{parameter: value})
    own = getattr(part, "keywords", {})
    taken = {key: Taken(value, knob) for key, x in own.items() if isinstance(x, Taken) and x.knob == knob}
    return functools.partial(part, **taken) if taken else part


class Decision(NamedTuple):
    """Per token: the advantage to use, its weight, the normalizer, and each penalty's coefficient."""

    advantage: Tensor
    weight: Tensor
    normalizer: Tensor
    penalties: tuple[Tensor, ...]

    @staticmethod
    def joined(parts: Sequence[Decision]) -> Decision:
        """Decisions on the parts of a batch, one behind the other."""
        penalties = zip(*(part.penalties for part in parts), strict=True)
        return Decision(
            torch.cat([part.advantage for part in parts]),
            torch.cat([part.weight for part in parts]),
            torch.cat([part.normalizer for part in parts]),
            tuple(torch.cat(column) for column in penalties),
        )

    def where(self, cut: slice | Tensor) -> Decision:
        return Decision(
            self.advantage[cut], self.weight[cut], self.normalizer[cut], tuple(c[cut] for c in self.penalties)
        )


@torch.no_grad()
def decide(tokens: Tokens, method: Method) -> Decision:
    """Everything that belongs to the batch, over all of its tokens, without a graph."""
    tokens = tokens.detach()
    advantage, weight = tokens.advantage, torch.ones_like(tokens.advantage)
    for shape in method.shape:
        advantage = decided(shape, tokens, advantage)
    for part in method.weights:
        weight = weight * decided(part, tokens)
    normalizer = decided(method.normalizer, tokens)
    penalties = tuple(p.decide(tokens, normalizer) for p in method.penalties)
    return dealt(tokens, method, Decision(advantage, weight, normalizer, penalties))


def dealt(tokens: Tokens, method: Method, decision: Decision) -> Decision:
    """Each token with the weight and the coefficients of another, and with what was added to that one's advantage."""
    if method.deal is in_place:
        return decision
    giver = decided(method.deal, tokens)
    added = decision.advantage - tokens.advantage
    penalties = tuple(c[giver] for c in decision.penalties)
    return Decision(tokens.advantage + added[giver], decision.weight[giver], decision.normalizer, penalties)


def loss(tokens: Tokens, method: Method, decision: Decision) -> Tensor:
    """A plain sum over whichever tokens are present, so any split of the batch gives the same gradient."""
    return functools.reduce(operator.add, (term.sum() for term in terms(tokens, method, decision)))


def terms(tokens: Tokens, method: Method, decision: Decision) -> list[Tensor]:
    """Per token: -N w f(r, A), and N c cost of each penalty."""
    found = [-(decision.normalizer * decision.weight * called(method.surrogate, tokens, decision.advantage))]
    for penalty, coefficient in zip(method.penalties, decision.penalties, strict=True):
        found.append(decision.normalizer * coefficient * called(penalty.cost, tokens))
    return found
