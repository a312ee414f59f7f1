"""arXiv 2510.10150: quadrants of the change of entropy, and what the four factors of earlier methods are."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from contracts.streams import batch, with_leaves
from isotherm.objective.compose import method
from isotherm.objective.interventions.steer import omega, push
from isotherm.objective.method import decide, loss
from isotherm.tokens.entropy_change import exact, quadrants
from isotherm.tokens.score import score

STATES, SIZE = 300, 60
CLIP = {"low": 0.2, "high": 0.28, "dual": 10.0}


def states():
    """Single-token responses, each in a state of its own, under a policy that has drifted."""
    generator = torch.Generator().manual_seed(0)
    logits = 2.5 * torch.randn(STATES, SIZE, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    plain = batch(0, [1] * STATES, range(STATES))
    drift = 0.3 * torch.randn(STATES, generator=generator, dtype=torch.float64)
    advantage = torch.randn(STATES, generator=generator, dtype=torch.float64)
    return logits, target, dataclasses.replace(plain, advantage=advantage), drift


def scored(logits, target, tokens):
    """The tokens under softmax(logits), differentiable in the logits."""
    found = score(torch.eye(STATES, dtype=torch.float64), logits.T, target)
    columns = {name: getattr(found, name) for name in ("logprob", "entropy", "s2", "s2l")}
    return dataclasses.replace(tokens, **columns)


def step(expression, eta):
    """The tokens before a step of gradient descent on the mean loss, and the change of each state's entropy."""
    logits, target, tokens, drift = states()
    leaf = logits.clone().requires_grad_()
    now = scored(leaf, target, tokens)
    now = dataclasses.replace(now, old_logprob=now.logprob.detach() - drift)
    chosen = method(expression)
    decision = decide(now, chosen)
    (slope,) = torch.autograd.grad(loss(now, chosen, decision), leaf)
    after = scored(logits - eta * slope, target, tokens)
    return now.detach(), decision, after.entropy - now.entropy.detach()


def test_the_signs_of_the_four_quadrants():
    """By the exact boundary the entropy falls in I and III and rises in II and IV, where the clip lets it."""
    now, _, true = step("clip_higher", 1e-3)
    free = push(now, low=0.2, high=0.28) != 0
    found = quadrants(now)
    for number, sign in ((1, -1), (2, 1), (3, -1), (4, 1)):
        here = free & (found == number)
        assert int(here.sum()) > 10
        assert (true[here] * sign > 0).all()
    assert (true[~free] == 0).all()


def test_the_exact_omega_predicts_the_step_of_the_objective():
    """With eta / T for the step and the weight that STEER gives, to first order."""
    eta = 1e-3
    now, decision, true = step("steer(estimator=exact)", eta)
    predicted = exact(now, push(now, **CLIP) * decision.weight, eta=eta / STATES)
    torch.testing.assert_close(predicted, true, rtol=1e-3, atol=1e-11)


def test_steer_with_the_exact_omega_lowers_the_largest_changes_most():
    """|dH| becomes |dH| floor^(|dH| / max): no change is larger than before, the largest is floor times itself."""
    _, _, plain = step("ppo_clip(high=0.28, dual=10.0)", 1e-3)
    _, _, held = step("steer(estimator=exact, floor=0.5)", 1e-3)
    largest = plain.abs().argmax()
    assert float(held[largest] / plain[largest]) == pytest.approx(0.5, rel=1e-3)
    torch.testing.assert_close(held, plain * 0.5 ** (plain.abs() / plain.abs().max()), rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("estimator", ["published", "printed", "exact"])
def test_a_clipped_token_has_no_omega(estimator):
    tokens = batch(1)
    leaves = with_leaves(tokens)
    f = method("ppo_clip(high=0.28, dual=10.0)").surrogate(leaves, tokens.advantage)
    (slope,) = torch.autograd.grad(f.sum(), leaves.logprob)
    torch.testing.assert_close(push(tokens, **CLIP), slope)
    assert ((omega(tokens, estimator=estimator, **CLIP) == 0) == (slope == 0)).all()


@pytest.mark.parametrize(
    ("expression", "own"),
    [
        ("clip_higher", "clip advantage"),
        ("unlikeliness", "clip probability advantage"),
        ("w_reinforce", "clip advantage"),
        ("entropy_adv", "clip advantage entropy"),
        ("reference_kl", "clip probability advantage"),
        ("entropy_bonus", "clip advantage entropy"),
        ("forking_tokens", "clip advantage entropy"),
        ("clip_cov", "clip probability advantage"),
        ("steer", "clip probability advantage entropy"),
    ],
)
def test_the_factors_that_each_method_touches(expression, own):
    """The paper's table, with the clip and the advantage of the surrogate that carries each method."""
    assert method(expression).factors == set(own.split())
