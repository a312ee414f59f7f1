"""The factors that a part declares are those on which it really depends.

advantage    another advantage, all else equal, changes it;
entropy      another entropy (and moments) changes it;
probability  another log pi at the same ratio changes it (of a cost: another log pi);
clip         it treats tokens differently beyond some ratio. On the batch: another ratio at the same log pi changes it.
             Of a surrogate: d f / d log pi is neither c A nor c r A with one c. Of a cost: it is flat at large ratios.

Of a surrogate f the slope d f / d log pi is looked at, because f itself always moves with its own log pi.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest
import torch

from contracts.streams import batch
from contracts.table import EXPRESSIONS
from isotherm.objective.compose import method
from isotherm.objective.factors import bare, factors_of, reads
from isotherm.objective.knobs import KNOBS
from isotherm.objective.weights import truncated_importance
from isotherm.records import Tokens

SEEDS = range(8)


def noise(tokens: Tokens, seed: int, scale: float = 1.0):
    return scale * torch.randn(len(tokens), dtype=torch.float64, generator=torch.Generator().manual_seed(100 + seed))


def other_advantage(tokens, seed):
    return dataclasses.replace(tokens, advantage=tokens.advantage + noise(tokens, seed))


def other_entropy(tokens, seed):
    shift = noise(tokens, seed).exp()
    moments = {name: getattr(tokens, name) * shift for name in ("entropy", "s2", "s2l")}
    extra = {name: x * shift for name, x in tokens.extra.items()}
    return dataclasses.replace(tokens, **moments, extra=extra)


def other_probability(tokens, seed):
    shift = noise(tokens, seed)
    return dataclasses.replace(tokens, logprob=tokens.logprob + shift, old_logprob=tokens.old_logprob + shift)


def other_logprob(tokens, seed):
    return dataclasses.replace(tokens, logprob=tokens.logprob + noise(tokens, seed))


def other_ratio(tokens, seed):
    """Another old policy, whose sampler differs from it as before."""
    shift = noise(tokens, seed, 2.0)
    old = {name: getattr(tokens, name) + shift for name in ("old_logprob", "sampler_logprob")}
    return dataclasses.replace(tokens, **old)


def depends(value, change) -> bool:
    """Whether a change of the tokens changes a per-token value, on any of the streams."""
    pairs = [(value(tokens := stream(seed)), value(change(tokens, seed))) for seed in SEEDS]
    return any(not torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs)


def stream(seed: int) -> Tokens:
    """Of low entropy where the seed is odd, for what looks at the entropy of the whole batch."""
    tokens = batch(seed)
    return (
        tokens if seed % 2 == 0 else dataclasses.replace(tokens, entropy=0.2 * tokens.entropy / tokens.entropy.mean())
    )


def slope_of(part, tokens, *arguments):
    leaf = tokens.logprob.clone().requires_grad_()
    value = part(dataclasses.replace(tokens, logprob=leaf), *arguments)
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    return torch.zeros_like(leaf) if slope is None else slope


def on_batch(part) -> set[str]:
    changes = {
        "advantage": other_advantage, "entropy": other_entropy, "probability": other_probability, "clip": other_ratio
    }  # fmt: skip
    return {factor for factor, change in changes.items() if depends(part, change)}


def on_batch_as_shape(part) -> set[str]:
    return on_batch(lambda tokens: part(tokens, tokens.advantage))


def of_surrogate(part) -> set[str]:
    def slope(tokens):
        return slope_of(part, tokens, tokens.advantage)

    changes = {"advantage": other_advantage, "entropy": other_entropy, "probability": other_probability}
    found = {factor for factor, change in changes.items() if depends(slope, change)}
    tokens = other_ratio(batch(), 0)
    some = tokens.advantage != 0
    per_advantage = (slope(tokens) / tokens.advantage)[some]
    per_ratio = per_advantage / (tokens.logprob - tokens.old_logprob)[some].exp()
    return found | (set() if constant(per_advantage) or constant(per_ratio) else {"clip"})


def constant(x) -> bool:
    return bool((x - x.mean()).abs().max() < 1e-9)


def of_cost(part) -> set[str]:
    changes = {"advantage": other_advantage, "entropy": other_entropy, "probability": other_logprob}
    found = {factor for factor, change in changes.items() if depends(part, change)}
    tokens = batch()
    near, far = (slope_of(part, dataclasses.replace(tokens, old_logprob=tokens.logprob - x)) for x in (0.05, 3.0))
    return found | ({"clip"} if bool(near.any()) and not far.any() else set())


def table():
    """Every function that is a part of a method, with the check of its slot and all its settings."""
    settings: dict[Any, Any] = {truncated_importance: (on_batch, {"": partial(truncated_importance, cap=1.005)})}
    for expression in EXPRESSIONS:
        chosen = controlled(method(expression))
        slots = [(part, on_batch_as_shape if part in chosen.shape else on_batch) for part in chosen.on_batch]
        slots += [(chosen.surrogate, of_surrogate), *((p.cost, of_cost) for p in chosen.penalties)]
        for part, check in slots:
            settings.setdefault(bare(part), (check, {}))[1][str(getattr(part, "keywords", ""))] = part
    return [(check, list(parts.values())) for check, parts in settings.values()]


def controlled(chosen):
    """With every knob that a control moves in the middle of its range."""
    for control in chosen.controls:
        knob = KNOBS[control.knob]
        chosen = chosen.with_knob(knob.name, (knob.least + knob.most) / 2)
    return chosen


def name(value):
    return bare(value[0]).__name__ if isinstance(value, list) else ""


@pytest.mark.parametrize(("check", "settings"), table(), ids=name)
def test_a_part_declares_what_it_reads(check, settings):
    """In one setting or another; none reads what is not declared."""
    assert set().union(*(check(part) for part in settings)) == factors_of(settings[0])


def test_the_check_finds_a_factor_that_is_not_declared():
    @reads("advantage")
    def sly(tokens):
        return tokens.advantage.sign() * (tokens.entropy > 1)

    assert on_batch(sly) == {"advantage", "entropy"} != factors_of(sly)


def test_the_check_finds_a_factor_that_is_declared_in_vain():
    @reads("advantage", "probability")
    def boastful(tokens, advantage, *, c):
        return (tokens.logprob - tokens.old_logprob).exp() * advantage * c

    part = partial(boastful, c=2.0)
    assert of_surrogate(part) == {"advantage"} != factors_of(part)


def test_the_check_tells_the_four_factors_apart():
    def likely(tokens):
        return (tokens.logprob > -1).double()

    def moved(tokens):
        return ((tokens.logprob - tokens.old_logprob).abs() > 0.5).double()

    def capped(tokens, advantage):
        return (tokens.logprob - tokens.old_logprob).exp().detach().clamp_max(1.2) * advantage * tokens.logprob

    def by_probability(tokens, advantage):
        return tokens.logprob * advantage * tokens.old_logprob.exp()

    def near_only(tokens):
        return (tokens.logprob - tokens.old_logprob).clamp(-1, 1).square()

    assert on_batch(likely) == {"probability"}
    assert on_batch(moved) == {"clip"}
    assert of_surrogate(capped) == {"advantage", "clip"}
    assert "probability" in of_surrogate(by_probability)
    assert of_cost(near_only) == {"probability", "clip"}
