import dataclasses
import math

import pytest
import torch

from contracts.streams import batch, slopes
from isotherm.objective.compose import method
from isotherm.objective.method import decide
from isotherm.objective.penalties import divergence, entropy_bonus, needs_reference, negative_entropy, reference_kl


def test_the_coefficients_are_one_number():
    for part in (entropy_bonus, reference_kl):
        assert torch.equal(part(batch(), c=0.3), torch.full((125,), 0.3, dtype=torch.float64))


def test_negative_entropy():
    assert torch.equal(negative_entropy(batch()), -batch().entropy)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_estimators_of_the_reference_kl(estimator):
    tokens = batch()
    log_r = tokens.logprob - tokens.ref_logprob  # log pi / pi_ref
    expected = {"k1": log_r, "k2": log_r.square() / 2, "k3": (-log_r).exp() - 1 + log_r}
    torch.testing.assert_close(divergence(tokens, estimator=estimator), expected[estimator])


def at(x, old, **parameters):
    """Cost and slope of one token with log pi_ref - log pi = x and log pi - log pi_old = old."""
    now = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    moved = {"ref_logprob": now.detach() + x, "old_logprob": now.detach() - old}
    cost = divergence(dataclasses.replace(batch(0, (1,), (0,)), logprob=now, **moved), **parameters)
    cost.sum().backward()
    assert now.grad is not None
    return cost.item(), now.grad.item()


def test_the_cost_of_a_token_may_be_bounded():
    """k3 at x = 3 is e^3 - 4 = 16.09 with slope 1 - e^3; k1 at x = 3 is -3."""
    assert at(3.0, 0.0) == pytest.approx((math.exp(3) - 4, 1 - math.exp(3)))
    assert at(3.0, 0.0, most=10.0) == (10.0, 0.0)
    assert at(1.0, 0.0, most=10.0) == pytest.approx((math.e - 2, 1 - math.e))
    assert at(3.0, 0.0, estimator="k1", most=2.0) == (-2.0, 0.0)


def test_k3_times_the_ratio_has_the_slope_minus_x_times_the_ratio():
    """d (r k3) = r (k3 + 1 - e^x) dlog pi = -r x dlog pi."""
    for x, old in ((0.5, 0.0), (-2.0, 0.3), (1.0, -1.0)):
        r = math.exp(old)
        assert at(x, old, weight="ratio") == pytest.approx((r * (math.exp(x) - 1 - x), -r * x))


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator):
    """Their mean under pi is KL(pi | pi_ref), summed here over a whole vocabulary."""
    generator = torch.Generator().manual_seed(0)
    now, reference = (torch.randn(9, generator=generator, dtype=torch.float64).log_softmax(0) for _ in range(2))
    one = batch(0, (9,), (0,))
    tokens = dataclasses.replace(one, logprob=now, ref_logprob=reference)
    mean = (now.exp() * divergence(tokens, estimator=estimator)).sum()
    torch.testing.assert_close(mean, (now.exp() * (now - reference)).sum())


def test_only_the_reference_kl_needs_a_reference():
    tokens = dataclasses.replace(batch(), ref_logprob=None)
    with pytest.raises(ValueError, match="reference"):
        divergence(tokens)
    needs = [
        name for name in ("entropy_bonus", "kl_cov", "reference_kl") if needs_reference(method(name).penalties[0].cost)
    ]
    assert needs == ["reference_kl"]


@pytest.mark.parametrize("base", ["grpo", "sequence_mean", "dr_grpo(length=12)"])
def test_the_bonus_may_be_the_mean_over_tokens_whatever_the_loss(base):
    """Slope -c / T of every entropy."""
    tokens = batch()
    chosen = method(f"{base} + entropy_bonus(c=0.5, mean=tokens)")
    _, slope = slopes(tokens, chosen, decide(tokens, chosen))
    torch.testing.assert_close(slope[1], torch.full_like(slope[1], -0.5 / len(tokens)))


def test_a_knob_leaves_the_mean_as_it_is():
    chosen = method("sequence_mean + adaptive_bonus(mean=tokens)")
    moved = chosen.with_knob(chosen.controls[0].knob, 0.5)
    tokens = batch()
    _, slope = slopes(tokens, moved, decide(tokens, moved))
    torch.testing.assert_close(slope[1], torch.full_like(slope[1], -0.5 / len(tokens)))
