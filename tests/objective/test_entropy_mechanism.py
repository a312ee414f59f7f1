import dataclasses
import math

import numpy as np
import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.interventions.entropy_mechanism import clip_cov, covariance, distance, kl_cov


def reference_covariance(tokens):
    l, a = tokens.logprob.numpy(), tokens.advantage.numpy()
    return (l - l.mean()) * (a - a.mean())


def test_covariance_is_that_of_the_paper():
    tokens = batch()
    np.testing.assert_allclose(covariance(tokens).numpy(), reference_covariance(tokens), rtol=1e-12)
    population = np.cov(tokens.logprob.numpy(), tokens.advantage.numpy(), bias=True)[0, 1]
    assert float(covariance(tokens).mean()) == pytest.approx(population)


def candidates(tokens, low, high, clip_high):
    cov, r = reference_covariance(tokens), (tokens.logprob - tokens.old_logprob).exp().numpy()
    a = tokens.advantage.numpy()
    stopped = ((r > 1 + clip_high) & (a > 0)) | ((r < 1 - 1.0) & (a < 0))
    return (cov > low) & (cov < high) & ~stopped


@pytest.mark.parametrize("ratio", [0.0, 2e-4, 0.01, 0.05, 0.1])
def test_clip_cov_draws_floor_of_ratio_times_tokens_inside_the_window(ratio):
    tokens = batch(1)
    window = candidates(tokens, 0.5, 5.0, 1.0)
    dropped = clip_cov(tokens, ratio=ratio, low=0.5, high=5.0).numpy() == 0
    assert dropped.sum() == (max(1, math.floor(ratio * len(tokens))) if ratio else 0)
    assert dropped.sum() <= window.sum()
    assert not (dropped & ~window).any()


def test_clip_cov_draws_no_more_than_there_are():
    tokens = batch(1)
    window = candidates(tokens, 1.0, 5.0, 1.0)
    assert 0 < window.sum() < len(tokens)
    assert np.array_equal(clip_cov(tokens, ratio=1.0).numpy() == 0, window)
    assert (clip_cov(tokens, ratio=1.0, low=1e6, high=2e6) == 1).all()


def test_clip_cov_leaves_out_what_the_ratio_clips_already():
    tokens = batch(1)
    wide, narrow = (clip_cov(tokens, ratio=1.0, clip_high=h).numpy() == 0 for h in (1e9, 0.1))
    r = (tokens.logprob - tokens.old_logprob).exp().numpy()
    assert np.array_equal(wide & ~narrow, wide & (r > 1.1) & (tokens.advantage.numpy() > 0))
    assert narrow.sum() < wide.sum()


def test_clip_cov_draws_uniformly_inside_the_window():
    tokens = batch(1)
    window = torch.from_numpy(candidates(tokens, 0.5, 5.0, 1.0))
    hits, rounds = torch.zeros(len(tokens)), 400
    for i in range(rounds):
        hits += clip_cov(dataclasses.replace(tokens, key=tokens.key + i), ratio=0.04, low=0.5) == 0
    expected = rounds * math.floor(0.04 * len(tokens)) / int(window.sum())
    assert (hits[~window] == 0).all()
    assert (hits[window] - expected).abs().max() < 5 * math.sqrt(expected)


@pytest.mark.parametrize("k", [0.0, 2e-3, 0.03, 0.5, 1.0])
def test_kl_cov_takes_exactly_the_top_k(k):
    tokens = batch(2)
    count = max(1, math.floor(k * len(tokens))) if k else 0
    top = np.argsort(-reference_covariance(tokens), kind="stable")[:count]
    coefficient = kl_cov(tokens, k=k, beta=0.7)
    assert set(coefficient.nonzero().squeeze(1).tolist()) == set(top.tolist())
    assert coefficient.unique().tolist() in ([0.0, 0.7], [0.7], [0.0])


def test_ties_go_to_the_smaller_key():
    tokens = batch(3)
    same = dataclasses.replace(tokens, logprob=torch.full_like(tokens.logprob, -1.0))
    chosen = kl_cov(same, k=0.1).nonzero().squeeze(1)
    first = np.argsort(tokens.key.numpy())[: math.floor(0.1 * len(tokens))]
    assert set(chosen.tolist()) == set(first.tolist())


@pytest.mark.parametrize(
    ("gap", "value", "slope"),
    [(0.5, 0.5, 1), (-0.5, 0.5, -1), (2e-6, 2e-6, 1), (9e-7, 0, 0), (-9e-7, 0, 0), (0.0, 0, 0)],
)
def test_distance_has_no_slope_at_a_rounding_error(gap, value, slope):
    one = batch(4, (1,), (0,))
    leaf = one.logprob.clone().requires_grad_()
    d = distance(dataclasses.replace(one, logprob=leaf, old_logprob=one.logprob - gap))
    d.sum().backward()
    assert d.item() == pytest.approx(value, abs=1e-12)
    assert leaf.grad.item() == slope


def test_without_a_rounding_every_distance_has_a_slope():
    one = batch(0, (3,), (0,))
    leaf = one.logprob.clone().requires_grad_()
    gap = torch.tensor([3e-7, -3e-7, 0.0], dtype=torch.float64)
    moved = dataclasses.replace(one, logprob=leaf, old_logprob=one.logprob - gap)
    distance(moved, rounding=0.0).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [1.0, -1.0, 0.0]


def test_the_clip_of_clip_cov_is_that_of_its_surrogate_and_of_its_window():
    chosen = method("clip_cov(clip_low=0.1, clip_high=0.3)")
    assert chosen.surrogate.keywords == {"low": 0.1, "high": 0.3, "dual": 0.0}
    assert {"clip_low": 0.1, "clip_high": 0.3}.items() <= chosen.weights[0].keywords.items()
