"""A method that changes nothing is found out, and one that changes something is not accused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.idle import is_idle, plain_push, relative, terms_of, why
from isotherm.objective.method import decide
from isotherm.objective.prediction import Push, push
from isotherm.objective.published import ROWS


def on_policy():
    tokens = batch(0)
    return dataclasses.replace(tokens, old_logprob=tokens.logprob, old_entropy=tokens.entropy)


def idle(expression, tokens):
    chosen = method(expression)
    decision = decide(tokens, chosen)
    return {
        term.name: why(tokens, term)
        for term in terms_of(expression, chosen)
        if is_idle(tokens, chosen, decision, term.without)
    }


@pytest.mark.parametrize(
    ("expression", "name", "says"),
    [
        ("kl_cov(k=0.1)", "kl_cov", "its penalty has no gradient, for the policy is still the one"),
        ("kl_cov(beta=0.0)", "kl_cov", "it gave every token the coefficient 0"),
        ("clip_higher", "clip_higher", "no ratio came to where it differs from the clip .2/.2"),
        ("clip_cov(low=1e9, high=2e9)", "clip_cov", "none was in its window or selection"),
        ("repo(beta=0.0) + entropy_bonus(c=0.1)", "repo", "it left every advantage as it was"),
    ],
)
def test_on_policy_what_cannot_act_is_named_with_its_reason(expression, name, says):
    (found,) = idle(expression, on_policy()).items()
    assert found[0] == name
    assert says in found[1]


@pytest.mark.parametrize(
    "expression",
    [
        "kl_cov(k=0.1)", "clip_higher(high=0.3) + par(pos=0.5, schedule=none)", "steer",
        "aent", "siren(anchor=0.1)", "lp_reg(share=1.0)",
    ],
)  # fmt: skip
def test_off_policy_they_act(expression):
    assert idle(expression, batch(0)) == {}


def test_one_idle_term_among_others_is_the_one_that_is_named():
    expression = "clip_higher + par(pos=0.5, schedule=none) + kl_cov(k=0.1)"
    assert list(idle(expression, on_policy())) == ["clip_higher", "kl_cov"]


def test_advantages_and_normalizers_are_no_terms_that_could_be_idle():
    for expression in ("grpo", "rloo", "dr_grpo", "ppo_clip", "sequence_mean"):
        assert terms_of(expression, method(expression)) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_can_be_asked(row):
    chosen, tokens = method(row.name), batch(0)
    for term in terms_of(row.name, chosen):
        is_idle(tokens, chosen, decide(tokens, chosen), term.without)
        assert why(tokens, term)
        assert why(tokens.where(slice(0, 0)), term)


def test_the_size_of_a_change_by_hand():
    """Three words with pi = (.5, .3, .2), the first sampled; g' = 2 (e_a - pi), and the method adds .1 dH/dz."""
    pi = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    log_pi = pi.log()
    h = -(pi * log_pi).sum()
    one = dict(
        zip(("logprob", "entropy", "s2", "s2l"), (log_pi[0], h, (pi**2).sum(), (pi**2 * log_pi).sum()), strict=True)
    )
    tokens = dataclasses.replace(batch(0, (1,), (0,)), **{name: x[None] for name, x in one.items()})
    e = torch.tensor([0.1], dtype=torch.float64)
    plain, pushed = Push(2 * e / 0.1, 0 * e), Push(1.5 * e / 0.1, e)
    ahead = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) - pi
    slope = -pi * (log_pi + h)
    exact = (-0.5 * ahead + 0.1 * slope).square().sum()
    sampled = exact - 0.01 * (slope.square().sum() - pi[0] * (log_pi[0] + h) ** 2)  # the last sum is one sample's
    assert relative(tokens, pushed, plain) == pytest.approx(float((sampled / (4 * ahead.square().sum())).sqrt()))
    assert relative(tokens, plain, plain) == 0


def test_the_plain_push_is_that_of_grpo():
    tokens, chosen = batch(3), method("grpo")
    decision = decide(tokens, chosen)
    for a, b in zip(push(tokens, chosen, decision), plain_push(tokens, decision), strict=True):
        torch.testing.assert_close(a, b)
