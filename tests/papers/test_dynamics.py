"""On a tabular softmax policy the predictions hold to the order of the remainder: their error falls as eta^2."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.measure.dynamics import predictions
from isotherm.objective.compose import method
from isotherm.objective.method import decide, loss
from isotherm.objective.prediction import push
from isotherm.tokens.entropy_change import (
    exact,
    of_logits,
    of_natural_gradient,
    of_policy_gradient,
    own_push,
    squared_surprisal,
)
from isotherm.tokens.score import score

ETAS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
STATES, SIZE = 200, 40


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def entropy(z):
    logp = z.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def require_second_order(error_of):
    """A factor of 100 per decade of eta, over the four decades of ETAS."""
    errors = [float(error_of(eta).norm()) for eta in ETAS]
    orders = [math.log10(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([2] * 4, abs=0.1)


def test_the_lemma_for_any_step_of_the_logits():
    z, dz = 2 * normal(STATES, SIZE), normal(STATES, SIZE, seed=1)
    tau, logp = 0.7, (2 * normal(STATES, SIZE) / 0.7).log_softmax(-1)
    require_second_order(
        lambda eta: of_logits(logp, eta * dz, temperature=tau) - (entropy((z + eta * dz) / tau) - entropy(z / tau))
    )


def test_theorem_1_policy_gradient():
    """dz is the gradient of E_pi[A] itself, from automatic differentiation; A need not be centred."""
    z, a = (2 * normal(STATES, SIZE)).requires_grad_(), 3 + normal(STATES, SIZE, seed=1)
    (slope,) = torch.autograd.grad((z.softmax(-1) * a).sum(), z)
    z = z.detach()
    require_second_order(
        lambda eta: of_policy_gradient(z.log_softmax(-1), a, eta=eta) - (entropy(z + eta * slope) - entropy(z))
    )


def test_theorem_1_needs_a_centred_advantage():
    """With the mean of A left in, the error is first order, and three decades show it."""
    z, a = (2 * normal(STATES, SIZE)).requires_grad_(), 3 + normal(STATES, SIZE, seed=1)
    (slope,) = torch.autograd.grad((z.softmax(-1) * a).sum(), z)
    z = z.detach()
    logp = z.log_softmax(-1)
    errors = [
        float((of_logits(logp, eta * logp.exp() * a) - (entropy(z + eta * slope) - entropy(z))).norm()) for eta in ETAS
    ]
    assert math.log10(errors[-2] / errors[-1]) == pytest.approx(1, abs=0.01)


def test_theorem_2_natural_policy_gradient():
    """F dz = slope of E_pi[A], with F = diag(pi) - pi pi^T: the pseudo-inverse gives A up to a constant."""
    z, a = 2 * normal(20, 6), normal(20, 6, seed=1)
    p = z.softmax(-1)
    fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    slope = p * (a - (p * a).sum(-1, keepdim=True))
    natural = (torch.linalg.pinv(fisher) @ slope[:, :, None]).squeeze(2)
    require_second_order(
        lambda eta: of_natural_gradient(z.log_softmax(-1), a, eta=eta) - (entropy(z + eta * natural) - entropy(z))
    )


def test_the_mean_of_the_exact_estimate_is_theorem_1():
    """E_{a~pi} exact(a) with c = A(a), over all actions of each of 50 states."""
    z, a = 2 * normal(50, 8), normal(50, 8, seed=1)
    logp = z.log_softmax(-1)
    p = logp.exp()
    columns = {
        "logprob": logp.flatten(), "entropy": entropy(z).repeat_interleave(8),
        "s2": (p * p).sum(-1).repeat_interleave(8), "s2l": (p * p * logp).sum(-1).repeat_interleave(8),
    }  # fmt: skip
    every = dataclasses.replace(batch(0, [8] * 50, range(50)), **columns)
    mean = (p.flatten() * exact(every, a.flatten())).view(50, 8).sum(1)
    torch.testing.assert_close(mean, of_policy_gradient(logp, a), rtol=1e-12, atol=1e-14)


def scored(z, target, tokens, temperature):
    """The tokens under softmax(z / tau), differentiable in z, and S2LL."""
    eye, moment = torch.eye(STATES, dtype=torch.float64), {"s2ll": squared_surprisal}
    found = score(eye, z.T, target, temperature, functionals=moment)
    columns = {name: getattr(found, name) for name in ("logprob", "entropy", "s2", "s2l")}
    return dataclasses.replace(tokens, **columns), found.extra["s2ll"].detach()


METHODS = (
    "grpo",
    "clip_higher + par + kl_cov(k=0.1)",
    "gspo",
    "entropy_bonus(c=0.3)",
    "reinforce + reference_kl(c=0.2)",
)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("expression", METHODS)
def test_a_step_of_an_objective(expression, temperature):
    """Gradient descent on the loss: the exact estimate, and what an entropy penalty adds, token by token."""
    z, chosen = 2 * normal(STATES, SIZE), method(expression)
    target = torch.multinomial(z.softmax(1), 1, generator=torch.Generator().manual_seed(2)).squeeze(1)
    plain = dataclasses.replace(batch(0, [1] * STATES, range(STATES)), advantage=normal(STATES, seed=3))
    leaf = z.clone().requires_grad_()
    now, s2ll = scored(leaf, target, plain, temperature)
    old = now.logprob.detach() - 0.3 * normal(STATES, seed=4)
    now = dataclasses.replace(now, old_logprob=old, ref_logprob=old)
    decision = decide(now, chosen)
    (slope,) = torch.autograd.grad(STATES * loss(now, chosen, decision), leaf)
    now = now.detach()
    c, on_entropy = push(now, chosen, decision)
    assert ("entropy_bonus" in expression) == bool((on_entropy != 0).any())

    def error(eta):
        true = scored(z - eta * slope, target, plain, temperature)[0].entropy - now.entropy
        options = {"eta": eta * STATES, "temperature": temperature}
        first = predictions(now, c, lr=eta, temperature=temperature)["exact"]
        return first + own_push(now, on_entropy, s2ll, **options) - true

    require_second_order(error)
