"""arXiv 2511.05993: what tokens of positive and of negative advantage do to a softmax, under PAR's weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.method import decide, loss
from isotherm.tokens.score import score

ONE = torch.ones(1, 1, dtype=torch.float64)


def tokens_of(logits, target, old, advantage):
    """The stream of single-token responses `target` drawn from one softmax."""
    n = len(target)
    found = score(ONE.expand(n, 1), logits[:, None], target)
    plain = batch(0, [1] * n, [0] * n)
    return dataclasses.replace(
        plain, logprob=found.logprob, entropy=found.entropy, old_logprob=old, advantage=advantage
    )


@pytest.mark.parametrize("advantage", [1.5, -1.5])
@pytest.mark.parametrize("expression", ["par(pos=1.0, neg=1.0, schedule=none)", "par(pos=0.3, neg=0.6, schedule=none)"])
def test_one_token_moves_its_own_logit_up_and_all_others_down(advantage, expression):
    """dz_a = w r (1 - pi_a) A, dz_v = -w r pi_v A."""
    logits = torch.linspace(-2, 2, 8, dtype=torch.float64).requires_grad_()
    p, a, r = logits.detach().softmax(0), 2, 1.1
    old = p[a : a + 1].log() - torch.tensor(r, dtype=torch.float64).log()
    tokens = tokens_of(logits, torch.tensor([a]), old, torch.tensor([advantage], dtype=torch.float64))
    chosen = method(expression)
    (slope,) = torch.autograd.grad(loss(tokens, chosen, decide(tokens, chosen)), logits)
    weight = chosen.weights[0](tokens).item()
    expected = -weight * r * p * advantage
    expected[a] += weight * r * advantage
    torch.testing.assert_close(-slope, expected)


@pytest.mark.parametrize(("token", "sign"), [("unlikely", 1), ("likely", -1)])
def test_the_sign_of_the_change_of_entropy(token, sign):
    """A rewarded unlikely token flattens, a rewarded likely one sharpens; punished, the other way round."""
    logits = torch.linspace(-2, 2, 8, dtype=torch.float64).requires_grad_()
    a = torch.tensor([0 if token == "unlikely" else 7])
    for advantage in (1.0, -1.0):
        tokens = tokens_of(logits, a, logits.detach().log_softmax(0)[a], torch.tensor([advantage], dtype=torch.float64))
        (slope,) = torch.autograd.grad(loss(tokens, method("grpo"), decide(tokens, method("grpo"))), logits)
        moved = score(ONE, (logits.detach() - 1e-3 * slope)[:, None], a).entropy - tokens.entropy.detach()
        assert float(moved) * sign * advantage > 0


def expected_push(expression, logits, right):
    """The step of the logits in expectation over the sampled answer, with the advantage R - mean."""
    leaf = logits.clone().requires_grad_()
    p = logits.softmax(0)
    advantage = right.double() - p[right].sum()
    target = torch.arange(len(logits))
    tokens = tokens_of(leaf, target, p.log(), len(p) * p * advantage)  # f is homogeneous: weights travel in A
    chosen = method(expression)
    (slope,) = torch.autograd.grad(loss(tokens, chosen, decide(tokens, chosen)), leaf)
    return -slope


@pytest.mark.parametrize("count", [1, 4, 15])
def test_in_expectation_in_one_state_both_signs_push_the_same_way(count):
    """dz(A < 0 only) = P / (1 - P) dz(A > 0 only), P the share of right answers: the signs differ by speed alone.

    So a softmax in one state cannot show the paper's final entropies (.015 for A >= 0 alone, .884 for A <= 0 alone):
    they come from samples, clips and shared parameters.
    """
    logits = torch.cos(torch.arange(20, dtype=torch.float64) * 1.7)
    right = torch.arange(20) < count
    share = logits.softmax(0)[right].sum()
    positive = expected_push("par(pos=1.0, neg=0.0, schedule=none)", logits, right)
    negative = expected_push("par(pos=0.0, neg=1.0, schedule=none)", logits, right)
    torch.testing.assert_close(negative, share / (1 - share) * positive)
    torch.testing.assert_close(positive + negative, expected_push("grpo", logits, right))
    assert (positive[right] > 0).all()
    assert (positive[~right] < 0).all()
