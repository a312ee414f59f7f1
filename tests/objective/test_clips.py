import dataclasses
import math

import pytest
import torch

from contracts.streams import batch, slopes, with_leaves
from isotherm.objective.compose import method
from isotherm.objective.interventions.clips import ce_gppo, cispo, dcpo, rescue, sapo, sequence_ratio
from isotherm.objective.method import decide
from isotherm.tokens.draws import uniform

LOW_HIGH = {"low": 0.2, "high": 0.3}


def slope(part, r, a, old=-1.0, **parameters):
    """d f / d log pi of one token with this ratio and advantage."""
    one = batch(0, (1,), (0,))
    leaf = torch.tensor([old + math.log(r)], dtype=torch.float64, requires_grad=True)
    tokens = dataclasses.replace(one, logprob=leaf, old_logprob=torch.tensor([old], dtype=torch.float64))
    part(tokens, torch.tensor([a], dtype=torch.float64), **parameters).sum().backward()
    return leaf.grad.item()


@pytest.mark.parametrize(
    ("r", "a", "expected"), [(0.5, 2.0, 1.0), (1.2, 2.0, 2.4), (7.0, 2.0, 2.6), (7.0, -2.0, -2.6), (0.1, -2.0, -0.2)]
)
def test_cispo_weighs_the_slope_of_log_pi_by_the_capped_ratio(r, a, expected):
    assert slope(cispo, r, a, high=0.3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("r", "a", "expected"), [(0.5, 2.0, 1.6), (0.5, -2.0, -1.6), (0.9, 2.0, 1.8), (7.0, 2.0, 2.6), (1e-12, 1.0, 0.8)]
)
def test_cispo_may_have_a_lower_bound(r, a, expected):
    assert slope(cispo, r, a, high=0.3, low=0.2) == pytest.approx(expected)


def test_cispo_is_straight_beyond_its_bounds_however_far():
    """1.3 (1 + 30 - log 1.3) and .8 (1 - 30 - log .8), with slopes 1.3 and .8."""
    for x, bound in ((30.0, 1.3), (-30.0, 0.8)):
        tokens = dataclasses.replace(two_responses(), old_logprob=two_responses().logprob - x)
        f = cispo(tokens, torch.ones(5, dtype=torch.float64), high=0.3, low=0.2)
        assert f.tolist() == pytest.approx([bound * (1 + x - math.log(bound))] * 5)
        assert slope(cispo, math.exp(x), 1.0, high=0.3, low=0.2) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("r", "a", "expected"),
    [
        (1.2, 2.0, 2.4),  # inside: r A
        (5.0, 2.0, 0.9 * 1.3 * 2),  # upper (1 + high) A
        (5.0, -2.0, -10.0),  # never clipped above with A < 0
        (0.1, -2.0, -0.5 * 0.8 * 2),  # lower (1 - low) A
        (0.1, 2.0, 0.2),
    ],
)
def test_ce_gppo_keeps_a_bounded_slope_beyond_the_clip(r, a, expected):
    assert slope(ce_gppo, r, a, **LOW_HIGH, lower=0.5, upper=0.9) == pytest.approx(expected)


def test_gppo_has_the_slope_of_the_bound():
    surrogate = method("gppo").surrogate
    assert slope(surrogate, 5.0, 2.0) == pytest.approx(2.4)
    assert slope(surrogate, 0.1, -2.0) == pytest.approx(-1.6)


def test_sapo_is_a_gate_by_sign():
    def by_hand(r, a, tau):  # 4 / tau s' tau r A with s' = s (1 - s)
        s = 1 / (1 + math.exp(-tau * (r - 1)))
        return 4 * s * (1 - s) * r * a

    for r in (0.3, 1.0, 2.5):
        assert slope(sapo, r, 2.0, pos=1.5, neg=3.0) == pytest.approx(by_hand(r, 2.0, 1.5))
        assert slope(sapo, r, -2.0, pos=1.5, neg=3.0) == pytest.approx(by_hand(r, -2.0, 3.0))
    assert slope(sapo, 1.0, -2.0, pos=1.5, neg=3.0) == pytest.approx(-2.0)


def test_dcpo_has_bounds_by_the_old_probability():
    bounds = {"low": 0.16, "high": 0.75, "cap": 3.0}
    # q = 1: l = (1 + .6) / 2, h = (1 + 2) / 2; q = .25: l = .5, h = (1 + sqrt 13) / 2; q = .01: h is capped
    cases = [(0.0, 0.8, 1.5), (math.log(0.25), 0.5, (1 + math.sqrt(13)) / 2), (math.log(0.01), 0.5, 3.0)]
    for old, least, most in cases:
        assert slope(dcpo, most - 0.01, 2.0, old, **bounds) == pytest.approx(2 * (most - 0.01))
        assert slope(dcpo, most + 0.01, 2.0, old, **bounds) == 0
        assert slope(dcpo, least + 0.01, -2.0, old, **bounds) == pytest.approx(-2 * (least + 0.01))
        assert slope(dcpo, least - 0.01, -2.0, old, **bounds) == 0


def test_rescue_frees_a_share_of_the_clipped_tokens_by_their_keys():
    tokens = batch(3, (4000,), (0,))
    r = 1.4
    tokens = dataclasses.replace(tokens, old_logprob=tokens.logprob - math.log(r))
    leaf = with_leaves(tokens)
    one = torch.ones(len(tokens), dtype=torch.float64)
    rescue(leaf, one, low=0.2, high=0.3, noise=0.2).sum().backward()
    assert leaf.logprob.grad is not None
    freed = leaf.logprob.grad != 0
    u = 0.8 + 0.4 * uniform(tokens.key, salt=3)
    assert torch.equal(freed, u * r <= 1.3)
    assert float(freed.double().mean()) == pytest.approx((1.3 / 1.4 - 0.8) / 0.4, abs=0.03)
    torch.testing.assert_close(leaf.logprob.grad[freed], r * one[freed])


def two_responses():
    """log r of (.1, .3) and (-.4, 0, .1): s = e^.2 and e^-.1."""
    tokens = batch(0, (2, 3), (0, 0))
    x = torch.tensor([0.1, 0.3, -0.4, 0.0, 0.1], dtype=torch.float64)
    advantage = torch.tensor([1.0, 1.0, -2.0, -2.0, -2.0], dtype=torch.float64)
    return dataclasses.replace(tokens, old_logprob=tokens.logprob - x, advantage=advantage)


def test_gspo_has_the_gradient_of_the_sequence_ratio():
    """1 / 2 sum_i s_i A_i differentiated as a whole, where s_i is a function of its tokens' log-probs."""
    tokens = two_responses()
    chosen = method("gspo(low=0.5, high=0.5)")
    _, slope = slopes(tokens, chosen, decide(tokens, chosen))
    leaf = tokens.logprob.clone().requires_grad_()
    x = leaf - tokens.old_logprob
    (x[:2].mean().exp() * 1.0 / 2 + x[2:].mean().exp() * -2.0 / 2).backward()
    torch.testing.assert_close(slope[0], -leaf.grad)


def test_gspo_clips_a_response_as_a_whole():
    tokens = two_responses()
    s1, s2 = math.exp(0.2), math.exp(-0.1)
    for low, high, expected in ((0.5, 0.5, (s1, s2)), (0.5, 0.2, (0, s2)), (0.05, 0.5, (s1, 0)), (0, 0, (0, 0))):
        w = sequence_ratio(tokens, low=low, high=high)
        assert w.tolist() == pytest.approx([expected[0]] * 2 + [expected[1]] * 3)
    flipped = dataclasses.replace(tokens, advantage=-tokens.advantage)
    assert sequence_ratio(flipped, low=0, high=0).tolist() == pytest.approx([s1] * 2 + [s2] * 3)


def test_gspo_looks_at_the_current_policy_whatever_the_statistics():
    assert method("gspo").always_current
    assert not method("clip_cov").always_current


@pytest.mark.parametrize("expression", ["cispo", "sapo", "gppo", "ce_gppo", "dcpo", "rescue"])
def test_on_policy_each_clip_is_the_policy_gradient(expression):
    tokens = batch(2, drift=0.0)
    chosen, plain = method(expression), method("reinforce")
    _, slope = slopes(tokens, chosen, decide(tokens, chosen))
    torch.testing.assert_close(slope, slopes(tokens, plain, decide(tokens, plain))[1])
