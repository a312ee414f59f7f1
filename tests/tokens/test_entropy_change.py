"""The estimators of the change of entropy against the true change of a float64 softmax after one step."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.tokens import entropy_change
from isotherm.tokens.entropy_change import exact, printed, published, quadrants, released, sharpening

STATES = 400


def states(size, temperature=1.0, seed=0):
    """One sampled token in each of 400 states, and their logits."""
    generator = torch.Generator().manual_seed(seed)
    scale = 0.5 + 3 * torch.rand(STATES, 1, generator=generator, dtype=torch.float64)
    logits = scale * torch.randn(STATES, size, generator=generator, dtype=torch.float64)
    logp = (logits / temperature).log_softmax(1)
    p = logp.exp()
    target = torch.multinomial(p, 1, generator=generator)
    plain = batch(0, [1] * STATES, [0] * STATES)
    tokens = dataclasses.replace(
        plain,
        logprob=logp.gather(1, target).squeeze(1),
        entropy=-(p * logp).sum(1),
        s2=(p * p).sum(1),
        s2l=(p * p * logp).sum(1),
        advantage=torch.randn(STATES, generator=generator, dtype=torch.float64),
    )
    return logits, target, tokens


def change(logits, target, c, eta, temperature=1.0):
    """H after a step of eta along c (e_a - pi) / tau, less H before."""
    p = (logits / temperature).softmax(1)
    push = (torch.zeros_like(p).scatter_(1, target, 1.0) - p) * c[:, None] / temperature
    before, after = ((z / temperature).log_softmax(1) for z in (logits, logits + eta * push))
    return (before.exp() * before).sum(1) - (after.exp() * after).sum(1)


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("size", [50, 1000])
def test_the_exact_first_order_is_off_by_the_square_of_the_step(size, temperature):
    logits, target, tokens = states(size, temperature)
    etas, errors = (1e-1, 1e-2, 1e-3, 1e-4), []
    for eta in etas:
        true = change(logits, target, tokens.advantage, eta, temperature)
        predicted = exact(tokens, tokens.advantage, eta=eta, temperature=temperature)
        errors.append(float((predicted - true).norm()))
    orders = [math.log10(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([2, 2, 2], abs=0.15)


@pytest.mark.parametrize("size", [50, 200, 1000])
def test_only_the_exact_one_is_the_true_change(size):
    """Each of the others has the sign right for most tokens, and none of them comes near a correlation of 1."""
    logits, target, tokens = states(size, seed=size)
    c = tokens.advantage
    true = change(logits, target, c, 1e-3)
    assert correlation(exact(tokens, c), true) > 0.99999
    for estimate in (published(tokens, c), released(tokens, c), printed(tokens, c), -covariance(tokens)):
        assert 0.2 < correlation(estimate, true) < 0.95
        assert 0.55 < float((estimate.sign() == true.sign()).double().mean()) < 0.95
    assert float((exact(tokens, c).sign() == true.sign()).double().mean()) > 0.99


def one(pi, h, s2=0.0, s2l=0.0, advantage=1.0):
    numbers = {"logprob": math.log(pi), "entropy": h, "s2": s2, "s2l": s2l, "advantage": advantage}
    columns = {name: torch.tensor([x], dtype=torch.float64) for name, x in numbers.items()}
    return dataclasses.replace(batch(0, [1], [0]), **columns)


def test_the_equations_on_numbers():
    """pi = 1/4, H = log 8, so that log pi + H = log 2; c = 2 and eta = 0.1."""
    tokens, c = one(0.25, math.log(8), s2=0.2, s2l=-0.3), torch.tensor([2.0], dtype=torch.float64)
    log2 = math.log(2)
    assert float(published(tokens, c, eta=0.1)) == pytest.approx(-0.2 * 0.25 * 0.75 * log2)
    assert float(released(tokens, c, eta=0.1)) == pytest.approx(-0.2 * 0.75 * log2)
    assert float(printed(tokens, c, eta=0.1)) == pytest.approx(-0.2 * 0.75**2 * log2)
    inner = 0.25 * log2 + 0.3 - 0.2 * math.log(8)
    assert float(exact(tokens, c, eta=0.1, temperature=0.5)) == pytest.approx(-0.2 / 0.25 * inner)


def test_a_uniform_distribution_has_no_first_order():
    tokens = one(1 / 8, math.log(8), 1 / 8, -math.log(8) / 8)
    for estimator in (published, released, printed, exact):
        assert abs(float(estimator(tokens, tokens.advantage))) < 1e-15


def test_quadrants_by_hand():
    likely, unlikely = one(0.5, math.log(8)), one(0.05, math.log(8))
    for boundary in ("published", "exact"):
        signs = [(likely, 1.0), (unlikely, 1.0), (unlikely, -1.0), (likely, -1.0), (likely, 0.0)]
        found = [int(quadrants(dataclasses.replace(t, advantage=t.advantage * a), boundary)) for t, a in signs]
        assert found == [1, 2, 3, 4, 0]


def test_the_two_boundaries_differ_where_pi_is_a_little_above_exp_minus_h():
    """The mean of pi (log pi + H) is not negative, so the exact boundary asks for a larger pi."""
    logits, target, tokens = states(50, seed=3)
    rough, sharp = sharpening(tokens, "published"), sharpening(tokens, "exact")
    assert not (sharp & ~rough).any()
    assert (rough & ~sharp).any()
    true = change(logits, target, torch.ones(STATES, dtype=torch.float64), 1e-5)
    assert torch.equal(sharp, true < 0)


def test_a_boundary_that_does_not_exist():
    with pytest.raises(ValueError, match="valid are published, exact"):
        entropy_change.quadrants(one(0.5, 1.0), "other")
