"""arXiv 2505.22617: for a tabular softmax, H changes by -Cov(log pi, dz) to first order."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from isotherm.tokens.score import score

ETAS = (1e-2, 1e-3, 1e-4, 1e-5)


def policy(seed: int, size: int = 40):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(size, generator=generator, dtype=torch.float64)
    return logits, torch.randn(size, generator=generator, dtype=torch.float64)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """H of softmax(logits), by the scorer."""
    return score(torch.ones(1, 1, dtype=torch.float64), logits[:, None], torch.tensor([0])).entropy[0]


def covariance(p, x, y):
    return (p * x * y).sum() - (p * x).sum() * (p * y).sum()


def remainders(logits, step, predicted):
    """|true - predicted change of H| for each eta."""
    return [float((entropy(logits + eta * step) - entropy(logits) - eta * predicted).abs()) for eta in ETAS]


def orders(errors):
    """Decades by which the error falls for each decade of eta."""
    return [math.log10(a / b) for a, b in itertools.pairwise(errors)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", ["any step", "policy gradient", "natural policy gradient"])
def test_the_change_of_entropy_is_minus_the_covariance_to_second_order(seed, rule):
    logits, advantage = policy(seed)
    logp = logits.log_softmax(0)
    p = logp.exp()
    advantage = advantage - (p * advantage).sum()
    step = {"any step": advantage.flip(0), "policy gradient": p * advantage, "natural policy gradient": advantage}[rule]
    found = orders(remainders(logits, step, -covariance(p, logp, step)))
    assert found == pytest.approx([2, 2, 2], abs=0.25)


def test_without_the_centred_advantage_the_error_is_of_first_order():
    logits, advantage = policy(0)
    logp = logits.log_softmax(0)
    p = logp.exp()
    centred = advantage - (p * advantage).sum()
    shifted = -covariance(p, logp, p * (centred + 1))
    assert orders(remainders(logits, p * centred, shifted)) == pytest.approx([1, 1, 1], abs=0.1)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_exact_first_order_of_one_token_needs_the_two_moments(temperature):
    """dH = -(eta c / tau^2) [pi (log pi + H) - S2L - H S2] for a push of the logits along c (e_a - pi) / tau."""
    logits, c = policy(1)[0], 0.7
    for a in range(0, 40, 7):
        row = score(torch.ones(1, 1, dtype=torch.float64), logits[:, None], torch.tensor([a]), temperature)
        logprob, h, s2, s2l = (x[0] for x in row[:4])
        p = (logits / temperature).softmax(0)
        push = -c * p / temperature
        push[a] += c / temperature
        predicted = -(c / temperature**2) * (logprob.exp() * (logprob + h) - s2l - h * s2)
        errors = []
        for eta in ETAS[:3]:
            moved = score(
                torch.ones(1, 1, dtype=torch.float64), (logits + eta * push)[:, None], torch.tensor([a]), temperature
            )
            errors.append(float((moved.entropy[0] - h - eta * predicted).abs()))
        assert orders(errors) == pytest.approx([2, 2], abs=0.25)
