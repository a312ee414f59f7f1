"""Responses without a part in the loss are left out, and nothing but the time that it takes tells."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from contracts.table import EXPRESSIONS
from contracts.test_microbatch import load_bench
from isotherm.objective.compose import method
from isotherm.objective.method import Decision, Method, Penalty, decide
from isotherm.update import step
from isotherm.update.live import cheapest, live_responses, live_tokens, tokens_run
from isotherm.update.step import Rule, gradient

bench = load_bench()


@pytest.fixture(scope="module")
def case():
    """Of four groups the rewards of two do not differ."""
    found = bench.make(torch.float64, problems=4, answers=4, longest=16)
    reward = np.where(found.rollout.group % 2 == 0, 1.0, found.rollout.reward)
    return found._replace(rollout=dataclasses.replace(found.rollout, reward=reward))


def everyone(chosen, decision, length):
    return np.ones(len(length), bool)


@pytest.mark.parametrize("rule", [(0, "current"), (2, "current"), (3, "rollout")], ids=str)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_gradient_is_that_of_all_responses(case, monkeypatch, expression, rule):
    chosen = method(expression)
    tokens, setting = bench.tokens_of(case, chosen), Rule(rule[0], 1.0, rule[1], 0.0)
    some = gradient(case.policy, case.rollout, tokens, chosen, setting)
    slope = bench.taken(case.policy)
    monkeypatch.setattr(step, "live_responses", everyone)
    whole = gradient(case.policy, case.rollout, tokens, chosen, setting)
    assert torch.allclose(slope, bench.taken(case.policy), rtol=1e-6, atol=1e-12)
    assert torch.allclose(some.loss, whole.loss, rtol=1e-9, atol=1e-15)
    assert len(some.tokens) == len(tokens)
    where = some.scored
    for name in ("logprob", "entropy", "s2", "s2l", "old_logprob"):
        assert torch.allclose(getattr(some.tokens, name)[where], getattr(whole.tokens, name)[where], rtol=1e-9)
        if rule[1] == "rollout":
            assert torch.equal(getattr(some.tokens, name)[~where], getattr(tokens, name)[~where])


def test_the_forward_pass_takes_the_live_responses_alone(case, monkeypatch):
    chosen, fed = method("grpo"), []
    clean = case.policy.module.hidden
    monkeypatch.setattr(case.policy.module, "hidden", lambda batch: fed.append(len(batch.responses)) or clean(batch))
    result = gradient(case.policy, case.rollout, bench.tokens_of(case, chosen), chosen, Rule(0, 1.0, "current", 0.0))
    bench.taken(case.policy)
    live = int((case.rollout.group % 2 == 1).sum())
    assert fed == [live]
    assert 0 < live < len(case.rollout.length)
    assert int(result.scored.sum()) == case.rollout.length[case.rollout.group % 2 == 1].sum()


def test_nothing_is_left_out_that_a_penalty_touches(case):
    chosen = method("grpo + entropy_bonus")
    result = gradient(case.policy, case.rollout, bench.tokens_of(case, chosen), chosen, Rule(2, 1.0, "current", 0.0))
    bench.taken(case.policy)
    assert bool(result.scored.all())


def test_without_any_signal_the_gradient_is_zero_and_there(case):
    """So that weight decay and momentum go on as they would."""
    flat = case._replace(rollout=dataclasses.replace(case.rollout, reward=np.ones(len(case.rollout.reward))))
    chosen = method("grpo")
    result = gradient(flat.policy, flat.rollout, bench.tokens_of(flat, chosen), chosen, Rule(0, 1.0, "current", 0.0))
    assert all(p.grad is not None and not p.grad.any() for p in flat.policy.parameters().values())
    bench.taken(flat.policy)
    assert float(result.loss) == 0
    assert not result.scored.any()


def made(advantage, weight, normalizer, *penalties):
    first, second, third = map(torch.tensor, (advantage, weight, normalizer))
    return Decision(first, second, third, tuple(map(torch.tensor, penalties)))


def test_live_tokens_by_hand():
    decision = made([1.0, 0.0, 1.0, 1.0, torch.nan, 0.0], [1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
                    [1.0, 1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0, 0.0, 2.0])  # fmt: skip
    assert live_tokens(method("grpo"), decision).tolist() == [True, False, False, False, True, True]
    length = np.array([1, 2, 0, 3])
    assert live_responses(method("grpo"), decision, length).tolist() == [True, False, False, True]


def test_a_surrogate_of_ones_own_is_asked_everywhere():
    """It may have a slope where the advantage is 0."""
    own = Method(surrogate=lambda tokens, advantage: tokens.logprob * (advantage - 1))
    decision = made([0.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    assert live_tokens(own, decision).tolist() == [True, True]


def test_a_penalty_without_a_coefficient_asks_for_nothing(case):
    tokens = bench.tokens_of(case, method("grpo"))
    silent = Method(penalties=(Penalty(lambda t: -t.entropy, lambda t: torch.zeros_like(t.advantage)),))
    assert torch.equal(live_tokens(silent, decide(tokens, silent)), tokens.advantage != 0)


@pytest.mark.parametrize(("prompt", "wanted"), [(2, "live"), (50, "whole groups")])
def test_a_dead_response_runs_along_where_its_absence_would_repeat_prompts(case, prompt, wanted):
    """Three groups of 4 with 10 tokens each, one without signal, one response of another dead.

    Alone: 7 prompts and 70 tokens. With the dead one: 2 prompts and 80.
    """
    group = np.repeat(np.arange(3), 4)
    rollout = dataclasses.replace(
        case.rollout, group=group, length=np.full(12, 10), prompts=[[1] * prompt for _ in range(3)]
    )
    live = np.array([True] * 4 + [False] * 4 + [True] * 3 + [False])
    whole = group != 1
    assert (tokens_run(rollout, live), tokens_run(rollout, whole)) == (7 * prompt + 70, 2 * prompt + 80)
    assert cheapest(rollout, live).tolist() == (live if wanted == "live" else whole).tolist()
    assert cheapest(rollout, whole).tolist() == whole.tolist()
    assert not cheapest(rollout, np.zeros(12, bool)).any()
