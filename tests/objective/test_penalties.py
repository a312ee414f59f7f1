import dataclasses

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
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
