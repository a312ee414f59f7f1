"""The predictions of an update, and the part of the row of metrics that they fill."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from contracts.streams import batch, slopes
from contracts.table import EXPRESSIONS
from isotherm.measure.attribution import whole
from isotherm.measure.catalogue import describe
from isotherm.measure.dynamics import ESTIMATORS, along_step, observed, predictions
from isotherm.objective.compose import method
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.objective.interventions.steer import push as ppo_push
from isotherm.objective.method import decide
from isotherm.objective.prediction import push


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_push_is_minus_the_slope_of_the_loss(expression):
    tokens, chosen = batch(0), method(expression)
    decision = decide(tokens, chosen)
    _, found = slopes(tokens, chosen, decision, micro=3)
    torch.testing.assert_close(torch.stack(list(push(tokens, chosen, decision))), -found[:2], rtol=1e-10, atol=1e-15)


def test_the_push_of_ppo_by_its_equation():
    """I_clip r A / T."""
    tokens, chosen = batch(0), method("ppo_clip(low=0.2, high=0.28, dual=10.0)")
    c, on_entropy = push(tokens, chosen, decide(tokens, chosen))
    torch.testing.assert_close(c, ppo_push(tokens, low=0.2, high=0.28, dual=10.0) / len(tokens))
    assert (on_entropy == 0).all()


def test_an_entropy_bonus_pushes_on_the_entropy():
    tokens, chosen = batch(0), method("entropy_bonus(c=0.25)")
    on_entropy = push(tokens, chosen, decide(tokens, chosen)).entropy
    torch.testing.assert_close(on_entropy, torch.full_like(on_entropy, 0.25 / len(tokens)))


@pytest.mark.parametrize("expression", ["grpo", "clip_higher + kl_cov(k=0.1)", "entropy_bonus(c=0.1)"])
def test_a_batch_given_twice_has_the_same_mean(expression):
    """The push halves where the tokens double, and eta = lr T makes up for it."""
    chosen = method(expression)
    once, twice = batch(0), batch(0).map(lambda x: torch.cat([x, x]))
    twice = dataclasses.replace(twice, key=torch.cat([once.key, once.key + 1]))
    decision = decide(once, chosen)
    both = decision.where(torch.arange(len(once)).repeat(2))
    both = both._replace(normalizer=both.normalizer / 2)
    found = []
    for tokens, decided in ((once, decision), (twice, both)):
        c = push(tokens, chosen, decided).logprob
        found.append([float(x.mean()) for x in predictions(tokens, c, lr=0.1, temperature=0.9).values()])
    assert found[0] == pytest.approx(found[1], rel=1e-10)


@pytest.mark.parametrize("expression", ["grpo", "clip_higher + par(pos=0.4, schedule=none) + kl_cov(k=0.1)", "gspo"])
def test_the_row_is_whole(expression):
    tokens, chosen = batch(2), method(expression)
    decision = decide(tokens, chosen)
    found = observed(tokens, chosen, decision, lr=0.01, temperature=0.9)
    row = {name.removeprefix("dynamics/"): value for name, value in found.items()}
    c = push(tokens, chosen, decision).logprob
    total = whole(tokens, c, eta=0.01, temperature=0.9)
    assert row["predicted/exact"] == pytest.approx(total, rel=1e-9)
    for kind, count in (("sign", 3), ("quadrant", 5)):
        parts = [value for name, value in row.items() if name.startswith(f"{kind}/")]
        assert len(parts) == count
        assert sum(parts) == pytest.approx(total, rel=1e-6)
    assert row["sign/positive"] == pytest.approx(row["quadrant/I"] + row["quadrant/II"])
    assert row["predicted/covariance"] == pytest.approx(-0.01 * float(covariance(tokens).mean()))
    assert {f"predicted/{name}" for name in ESTIMATORS} <= row.keys()
    assert all(describe(name) for name in found)


def test_no_tokens_and_no_signal():
    empty, chosen = batch(0, [], []), method("grpo")
    assert len(push(empty, chosen, decide(empty, chosen)).logprob) == 0
    flat = dataclasses.replace(batch(0), advantage=torch.zeros(len(batch(0)), dtype=torch.float64))
    row = observed(flat, chosen, decide(flat, chosen), lr=0.01, temperature=1.0)
    assert set(row.values()) == {0.0}


def test_along_a_step_by_hand():
    gradient = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])]
    before = [torch.tensor([0.5, 0.5]), torch.tensor([[1.0]])]
    after = [torch.tensor([1.5, 0.0]), torch.tensor([[0.5]])]
    assert along_step(gradient, before, after) == 1.0 + 1.0 - 1.5
