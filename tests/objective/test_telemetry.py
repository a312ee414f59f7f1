import dataclasses
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.method import decide
from isotherm.objective.telemetry import telemetry

R = [0.5, 0.9, 1.0, 1.25, 1.3, 2.0, math.exp(30)]
A = [-1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 0.0]


def measured(expression):
    one = batch(0, (7,), (0,))
    logprob = torch.tensor([-3.0, -2.0, -1.0, -1.5, -0.5, -4.0, -0.1], dtype=torch.float64)
    old, advantage = logprob - torch.tensor(R).double().log(), torch.tensor(A, dtype=torch.float64)
    tokens = dataclasses.replace(one, logprob=logprob, old_logprob=old, advantage=advantage)
    chosen = method(expression)
    return telemetry(tokens, chosen, decide(tokens, chosen))


def test_shares_of_clipped_tokens_follow_the_bounds_of_the_surrogate():
    assert measured("grpo")[:2] == pytest.approx((1 / 7, 2 / 7))
    assert measured("clip_higher")[:2] == pytest.approx((1 / 7, 1 / 7))
    assert measured("kl_cov")[:2] == (0, 0)


def test_touched_is_the_share_of_tokens_that_the_method_treats_in_another_way():
    assert measured("grpo").touched == 0
    assert measured("kl_cov").touched == pytest.approx(1 / 7)
    assert measured("par(pos=0.5, schedule=none)").touched == pytest.approx(3 / 7)
    assert measured("entropy_bonus").touched == 1


def test_moments_of_the_ratio():
    found = measured("grpo")
    assert found.clamped == pytest.approx(1 / 7)
    assert found.ratio_max == pytest.approx(math.exp(20))
    kl = sum(math.exp(min(20, math.log(r))) - 1 - math.log(r) for r in R) / 7
    assert found.kl_old == pytest.approx(kl)


def test_covariance_is_that_of_log_prob_and_advantage():
    l = torch.tensor([-3.0, -2.0, -1.0, -1.5, -0.5, -4.0, -0.1], dtype=torch.float64)
    a = torch.tensor(A, dtype=torch.float64)
    expected = float((l * a).mean() - l.mean() * a.mean())
    assert measured("grpo").covariance == pytest.approx(expected)
