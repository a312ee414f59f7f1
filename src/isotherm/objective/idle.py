"""Whether a method, or a term of it, changes the gradient at all; and if not, why."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isotherm.objective.compose import build, parse
from isotherm.objective.factors import Part, bare
from isotherm.objective.method import Decision, Method, Penalty, Slots, decide
from isotherm.objective.prediction import Push, pulls
from isotherm.objective.surrogates import clipped, log_ratio
from isotherm.records import Tokens
from isotherm.tokens.entropy_change import excess

PLAIN = Method()
SEVERAL = ("shape", "weights", "penalties")


class Term(NamedTuple):
    """A term of an expression, and the method without it."""

    name: str
    slots: Slots
    without: Method


def plain_push(tokens: Tokens, decision: Decision) -> Push:
    """What GRPO with PPO clip .2/.2 pulls at the same tokens with the same normalizer: c = N I_clip r A, e = 0."""
    a, free = tokens.advantage, ~clipped(tokens, low=0.2, high=0.2)
    return Push(decision.normalizer * log_ratio(tokens).exp() * a * free, torch.zeros_like(a))


def relative(tokens: Tokens, pushed: Push, other: Push) -> float:
    """|g - g'| / |g'| of the gradients at the logits, each token's state by itself.

    Of the difference c (e_a - pi) + e dH/dz the square is c^2 (1 - 2 pi + S2) - 2 c e excess + e^2 sum_v pi_v^2
    (log pi_v + H)^2, whose last sum is taken from the sampled token: pi (log pi + H)^2 has it as its mean.
    """
    difference = square(tokens, pushed.logprob - other.logprob, pushed.entropy - other.entropy)
    whole = square(tokens, other.logprob, other.entropy)
    return float((difference / whole).sqrt()) if whole > 0 else float(difference > 0)


def square(tokens: Tokens, c: Tensor, e: Tensor) -> Tensor:
    c, e, pi = c.double(), e.double(), tokens.logprob.double().exp()
    own = pi * (tokens.logprob + tokens.entropy).double() ** 2
    return (c * c * (1 - 2 * pi + tokens.s2) - 2 * c * e * excess(tokens) + e * e * own).sum().clamp_min(0)


def terms_of(expression: str, method: Method) -> list[Term]:
    """The terms that change the loss of a token, each with the method without it.

    A term's own advantages, normalizer and default surrogate are left in place: only what it intervenes with goes.
    """
    found = []
    for row, arguments in parse(expression):
        slots = build(row, arguments)
        changes: dict[str, Any] = {
            name: remove(getattr(method, name), slots[name]) for name in SEVERAL if name in slots
        }
        if "surrogate" in slots and not same(slots["surrogate"], PLAIN.surrogate):
            changes["surrogate"] = PLAIN.surrogate
        if "deal" in slots:
            changes["deal"] = PLAIN.deal
        if changes:
            found.append(Term(row.name, slots, dataclasses.replace(method, **changes)))
    return found


def remove(parts: tuple[Any, ...], taken: tuple[Any, ...]) -> tuple[Any, ...]:
    """The parts without those of the same functions: a knob moves their parameters."""
    gone = [functions(part) for part in taken]
    return tuple(part for part in parts if functions(part) not in gone)


def functions(part: Part | Penalty) -> tuple[Any, ...]:
    return (bare(part.cost), bare(part.coefficient)) if isinstance(part, Penalty) else (bare(part),)


def same(part: Part, other: Part) -> bool:
    """Whether both are one function with one setting, 0 being off."""
    return bare(part) is bare(other) and settings(part) == settings(other)


def settings(part: Part) -> dict[str, Any]:
    return {name: value for name, value in getattr(part, "keywords", {}).items() if value}


@torch.no_grad()
def is_idle(tokens: Tokens, method: Method, decision: Decision, without: Method) -> bool:
    """Whether the loss has the same slopes without the term."""
    mine, other = pulls(tokens, method, decision), pulls(tokens, without, decide(tokens, without))
    return all(torch.equal(mine[name], other[name]) for name in mine)


def why(tokens: Tokens, term: Term) -> str:
    """Why a term changed nothing, as far as the tokens of one batch tell."""
    x = (tokens.logprob - tokens.old_logprob).abs().max() if len(tokens) else torch.zeros(())
    still = f"the policy is still the one that scored the batch (largest |log r| {float(x):.1g})"
    chosen = [float(p.coefficient(tokens).abs().max()) for p in term.slots.get("penalties", ()) if len(tokens)]
    if chosen:
        return f"its penalty has no gradient, for {still}" if max(chosen) else "it gave every token the coefficient 0"
    if "weights" in term.slots:
        return "it left the weight of every token at 1: none was in its window or selection"
    if "shape" in term.slots:
        return "it left every advantage as it was"
    if "deal" in term.slots:
        return "all tokens of one sign of the advantage had the same to deal out"
    return f"no ratio came to where it differs from the clip .2/.2, for {still}"
