import math

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.surrogates import clipped, log_ratio, ppo_clip, ratio, reinforce

# r, A, f and d f / d log pi with low .2, high .28, dual 3
CASES = [
    (1.0, 2.0, 2.0, 2.0),
    (1.25, 2.0, 2.5, 2.5),
    (1.29, 2.0, 2.56, 0.0),  # above 1 + high: flat
    (0.5, 2.0, 1.0, 1.0),  # A > 0 is never clipped below
    (1.29, -2.0, -2.58, -2.58),  # A < 0 is never clipped above
    (0.81, -2.0, -1.62, -1.62),
    (0.5, -2.0, -1.6, 0.0),  # below 1 - low: flat
    (2.9, -2.0, -5.8, -5.8),
    (3.5, -2.0, -6.0, 0.0),  # the dual clip: not below 3 A
    (3.5, 2.0, 2.56, 0.0),
    (5.0, 0.0, 0.0, 0.0),
]


def tokens_with(r, logprob=-1.0):
    """One token of ratio r whose log-prob gathers a gradient."""
    now = torch.tensor([logprob], dtype=torch.float64, requires_grad=True)
    one = batch(0, (1,), (0,))
    return type(one)(**{**vars(one), "logprob": now, "old_logprob": now.detach() - math.log(r)})


@pytest.mark.parametrize(("r", "a", "value", "slope"), CASES)
def test_ppo_clip(r, a, value, slope):
    tokens = tokens_with(r)
    f = ppo_clip(tokens, torch.tensor([a], dtype=torch.float64), low=0.2, high=0.28, dual=3.0)
    f.sum().backward()
    assert f.item() == pytest.approx(value, abs=1e-12)
    assert tokens.logprob.grad.item() == pytest.approx(slope, abs=1e-12)


def test_without_the_dual_clip_a_negative_advantage_has_no_floor():
    f = ppo_clip(tokens_with(3.5), torch.tensor([-2.0]), low=0.2, high=0.28)
    assert f.item() == pytest.approx(-7.0)


def test_ratio_and_reinforce():
    tokens, a = batch(1), batch(1).advantage
    torch.testing.assert_close(ratio(tokens, a), (tokens.logprob - tokens.old_logprob).exp() * a)
    torch.testing.assert_close(reinforce(tokens, a), tokens.logprob * a)


def test_the_log_ratio_is_held_within_20():
    assert log_ratio(tokens_with(math.exp(25))).item() == 20
    assert log_ratio(tokens_with(math.exp(-25))).item() == -20


def test_clipped_is_where_the_clip_stops_the_gradient():
    tokens = batch(2)
    leaf = tokens.logprob.clone().requires_grad_()
    moving = type(tokens)(**{**vars(tokens), "logprob": leaf})
    ppo_clip(moving, tokens.advantage, low=0.2, high=0.28).sum().backward()
    flat = (leaf.grad == 0) & (tokens.advantage != 0)
    assert torch.equal(clipped(tokens, low=0.2, high=0.28), flat)
    assert 0 < int(flat.sum()) < len(tokens)
