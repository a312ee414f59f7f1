"""Splits of the first-order change of entropy: parts that sum to the whole, and labels worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.streams import batch, with_leaves
from isotherm.measure import attribution
from isotherm.objective.compose import method
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.objective.method import decide, loss
from isotherm.objective.prediction import push
from isotherm.tokens.entropy_change import exact

METHODS = ("grpo", "clip_higher + par(pos=0.4, schedule=none) + kl_cov(k=0.1)", "gspo", "entropy_bonus(c=0.1)")


def every_split(tokens):
    random = np.random.default_rng(0)
    return {
        "sign": attribution.signs(tokens),
        "exact": attribution.quadrants(tokens),
        "published": attribution.quadrants(tokens, "published"),
        "clip": attribution.clip_regions(tokens, low=0.2, high=0.2),
        "position": attribution.positions(tokens.position),
        "covariance": attribution.covariance_ranks(covariance(tokens).numpy()),
        "token": random.choice(["a", "b", "<eos>", ""], len(tokens)),
        "family": random.choice(["chain", "subset"], len(tokens)),
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(METHODS), st.sampled_from([torch.float32, torch.float64]))
def test_parts_sum_to_a_whole_that_is_computed_without_them(seed, expression, dtype):
    tokens = batch(seed).map(lambda x: x.to(dtype) if x.is_floating_point() else x)
    chosen = method(expression)
    c = push(tokens, chosen, decide(tokens, chosen)).logprob
    change = exact(tokens, c, eta=len(tokens), temperature=0.9)
    whole = attribution.whole(tokens, c, eta=len(tokens), temperature=0.9)
    size = float(change.abs().sum())
    for labels in every_split(tokens).values():
        parts = attribution.split(change, labels)
        assert len(parts) > 1
        assert abs(sum(parts.values()) - whole) <= 1e-6 * size


def test_a_part_that_is_lost_shows():
    tokens = batch(0)
    c = tokens.advantage
    parts = attribution.split(exact(tokens, c), attribution.signs(tokens))
    assert abs(parts["positive"] - attribution.whole(tokens, c)) > 1e-3


def test_parts_in_the_parameters_by_hand():
    """A penalty that pulls on a functional counts as log pi and H do; a column that is not asked for does not."""
    pulls = {"logprob": [0.5, -2.0], "entropy": [0.0, 0.125], "f": [3.0, 0.0], "s2ll": [9.0, 9.0]}
    slopes = {"logprob": [4.0, 1.0], "entropy": [7.0, 16.0], "f": [-1.0, 5.0]}
    found = attribution.in_parameters(*({k: torch.tensor(x) for k, x in d.items()} for d in (pulls, slopes)))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([0.5 * 4 - 3, -2 + 2])


def numbers(**columns):
    count = len(next(iter(columns.values())))
    given = {name: torch.tensor(x, dtype=torch.float64) for name, x in columns.items()}
    return dataclasses.replace(batch(0, [count], [0]), **given)


def test_labels_by_hand():
    r = torch.tensor([0.5, 0.5, 1.0, 1.5, 1.5], dtype=torch.float64)
    tokens = numbers(logprob=r.log().tolist(), old_logprob=[0.0] * 5, advantage=[-1.0, 1.0, 0.0, -1.0, 1.0])
    assert attribution.signs(tokens).tolist() == ["negative", "positive", "zero", "negative", "positive"]
    regions = attribution.clip_regions(tokens, low=0.2, high=0.28).tolist()
    assert regions == ["below, stopped", "below", "inside", "above", "above, stopped"]
    assert set(attribution.clip_regions(tokens, low=math.inf, high=math.inf)) == {"inside"}
    found = attribution.positions(np.array([0, 1, 2, 3, 4, 7, 8, 1000]))
    two, four = "00002-00003", "00004-00007"
    assert found.tolist() == ["00000", "00001", two, two, four, four, "00008-00015", "00512-01023"]


def test_the_table_of_covariances_by_hand():
    cov = np.arange(1000.0)
    table = attribution.covariance_table(cov)
    assert table == {0.0002: 999.0, 0.002: 998.5, 0.02: 989.5, 0.2: 899.5, 0.5: 749.5, 1.0: 499.5}
    names, counts = np.unique(attribution.covariance_ranks(cov[::-1]), return_counts=True)
    assert counts.tolist() == [1, 1, 18, 180, 300, 500]
    assert names[0] == "0: to 0.02 %"
    assert attribution.covariance_table(np.empty(0)) == {}


def test_norms_of_gradients_are_those_of_the_logits():
    """c log pi(a) differentiated with respect to 8 logits, at temperature 0.8."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(30, 8, generator=generator, dtype=torch.float64).requires_grad_()
    c, target = torch.randn(30, generator=generator, dtype=torch.float64), torch.randint(8, (30,), generator=generator)
    logp = (z / 0.8).log_softmax(1)
    chosen = logp.gather(1, target[:, None]).squeeze(1)
    (slope,) = torch.autograd.grad((c * chosen).sum(), z)
    plain = batch(0, [30], [0])
    tokens = dataclasses.replace(plain, logprob=chosen.detach(), s2=logp.detach().exp().square().sum(1))
    torch.testing.assert_close(attribution.gradient_norms(tokens, c, temperature=0.8), slope.norm(dim=1))


@pytest.mark.parametrize("expression", METHODS)
def test_the_losses_of_the_tokens_sum_to_the_loss(expression):
    tokens = with_leaves(batch(1))
    chosen = method(expression)
    decision = decide(tokens, chosen)
    found = attribution.losses(tokens, chosen, decision)
    assert found.shape == (len(tokens),)
    assert float(found.sum().detach()) == pytest.approx(float(loss(tokens, chosen, decision).detach()), rel=1e-12)


def test_the_share_of_positive_tokens():
    tokens = numbers(advantage=[1.0, -1.0, 0.0])
    value = torch.tensor([-3.0, 4.0, 1.0])
    assert attribution.share_of_positive(tokens, value) == pytest.approx(3 / 8)
    assert attribution.share_of_positive(tokens, torch.zeros(3)) == 0
