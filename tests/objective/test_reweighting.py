import dataclasses
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.interventions.reweighting import clip_b, clip_v, cw_grpo, erc, score, stare


def stream(**columns):
    """One response whose named columns are these numbers."""
    size = len(next(iter(columns.values())))
    values = {name: torch.tensor(x, dtype=torch.float64) for name, x in columns.items()}
    return dataclasses.replace(batch(0, (size,), (0,)), **values)


def test_erc_keeps_tokens_whose_entropy_has_hardly_moved():
    tokens = stream(entropy=[0.94, 0.96, 1.04, 1.06, 0.0, 0.1], old_entropy=[1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    assert erc(tokens, low=0.05, high=0.05).tolist() == [0, 1, 1, 0, 1, 0]
    assert erc(tokens, low=0.05, high=0.1).tolist() == [0, 1, 1, 1, 1, 0]


def test_erc_says_what_it_lacks():
    with pytest.raises(ValueError, match="entropies of the policy"):
        erc(dataclasses.replace(batch(), old_entropy=None), low=0.05, high=0.05)


def test_cw_grpo_is_a_gaussian_of_the_covariance_with_mean_1():
    # log pi - mean = -2, 0, 2 and A - mean = -1, 0, 1: Cov = 2, 0, 2, mean 4/3, deviations 2/3, -4/3, 2/3, variance 8/9
    w = cw_grpo(stream(logprob=[-5.0, -3.0, -1.0], advantage=[-1.0, 0.0, 1.0]))
    near, far = math.exp(-(4 / 9) / (16 / 9)), math.exp(-(16 / 9) / (16 / 9))
    mean = (2 * near + far) / 3
    assert w.tolist() == pytest.approx([near / mean, far / mean, near / mean])


def test_cw_grpo_of_equal_covariances_is_1():
    assert cw_grpo(stream(logprob=[-1.0, -1.0], advantage=[1.0, -1.0])).tolist() == [1, 1]


def test_stare_moves_the_least_likely_tokens_of_each_sign_below_the_target():
    columns = {"logprob": [-1.0, -4.0, -2.0, -9.0, -3.0, -0.5], "advantage": [1.0, 1.0, 1.0, 0.0, -1.0, -1.0]}
    rule = {"share": 0.5, "up": 1.1, "down": 0.9, "target": 0.3}
    assert stare(stream(**columns, entropy=[0.2] * 6), **rule).tolist() == [1, 1.1, 1, 1, 0.9, 1]
    assert stare(stream(**columns, entropy=[0.4] * 6), **rule).tolist() == [1] * 6


def softmax(*rows):
    """Tokens that are the first words of these distributions."""
    p = torch.tensor(rows, dtype=torch.float64)
    logp = p.log()
    moments = {"entropy": -(p * logp).sum(-1), "s2": (p * p).sum(-1), "s2l": (p * p * logp).sum(-1)}
    return dataclasses.replace(batch(0, (len(p),), (0,)), logprob=logp[:, 0], **moments), p


def test_the_score_is_minus_the_slope_of_the_entropy():
    tokens, p = softmax((0.7, 0.2, 0.1))
    z = p[0].log().requires_grad_()
    logp = z.log_softmax(-1)
    (slope,) = torch.autograd.grad(-(logp.exp() * logp).sum(), z)
    assert score(tokens).item() == pytest.approx(-slope[0].item())
    centre = (p[0] * -slope).sum().item()
    assert (tokens.s2l + tokens.entropy * tokens.s2).item() == pytest.approx(centre)


def test_clip_b_drops_outliers_of_the_batch():
    rows = [(0.5, 0.5)] * 8 + [(0.8, 0.2), (0.1, 0.9)]
    tokens, _ = softmax(*rows)
    h = [-(a * math.log(a) + b * math.log(b)) for a, b in rows]
    s = torch.tensor([a * (math.log(a) + x) for (a, _), x in zip(rows, h, strict=True)], dtype=torch.float64)
    z = ((s - s.mean()) / s.std(correction=0)).tolist()
    assert z[8] > 1 > z[0]
    assert z[9] < -2
    assert clip_b(tokens, mu=1.0, sides="both").tolist() == [1] * 8 + [0, 0]
    assert clip_b(tokens, mu=1.0, sides="upper").tolist() == [1] * 8 + [0, 1]
    assert clip_b(tokens, mu=3.0, sides="both").tolist() == [1] * 10


def test_clip_v_takes_the_mean_over_the_vocabulary():
    rows = [(0.5, 0.5), (0.5, 0.5), (0.8, 0.2), (0.1, 0.9)]
    tokens, p = softmax(*rows)
    s = p * (p.log() - (p * p.log()).sum(-1, keepdim=True))
    d = s[:, 0] - (p * s).sum(-1)
    rms = (d * d).mean().sqrt()
    for mu in (0.3, 1.0, 1.9):
        assert torch.equal(clip_v(tokens, mu=mu, sides="both"), (d.abs() <= mu * rms).double())
        assert torch.equal(clip_v(tokens, mu=mu, sides="upper"), (d <= mu * rms).double())
    assert clip_v(tokens, mu=1.0, sides="both").sum() < 4
