"""OPEFO, masks by the predicted change of entropy, clips by entropy, BAPO."""

import dataclasses
import math

import pytest
import torch

from contracts.streams import batch, slopes
from isotherm.objective.compose import method
from isotherm.objective.interventions.bapo import balanced_clip, bounds
from isotherm.objective.interventions.entropy_clip import entropy_clip, forks, sure_kl
from isotherm.objective.interventions.steer import omega
from isotherm.objective.method import decide

ON_POLICY = {"low": 0.2, "high": 0.2, "dual": 0.0}


def stream(lengths=None, groups=None, **columns):
    size = len(next(iter(columns.values())))
    values = {name: torch.tensor(x, dtype=torch.float64) for name, x in columns.items()}
    return dataclasses.replace(batch(0, lengths or (size,), groups or (0,)), **values)


def softmax(*rows, advantage):
    """On-policy tokens that are the first words of these distributions."""
    p = torch.tensor(rows, dtype=torch.float64)
    logp = p.log()
    moments = {"entropy": -(p * logp).sum(-1), "s2": (p * p).sum(-1), "s2l": (p * p * logp).sum(-1)}
    a = torch.tensor(advantage, dtype=torch.float64)
    one = batch(0, (len(p),), (0,))
    return dataclasses.replace(one, logprob=logp[:, 0], old_logprob=logp[:, 0], advantage=a, **moments)


def change_by_hand(p, a):
    """d H / d eta of z + eta a (e_0 - p), by differences."""
    z, push = math.log(p[0]) - math.log(p[1]), a * (1 - p[0]) + a * p[1]

    def h(x):
        q = 1 / (1 + math.exp(-x))
        return -(q * math.log(q) + (1 - q) * math.log(1 - q))

    return (h(z + 1e-6 * push) - h(z - 1e-6 * push)) / 2e-6


def test_opefo_balances_the_first_order_of_the_batch():
    rows, advantage = ((0.8, 0.2), (0.3, 0.7), (0.6, 0.4), (0.5, 0.5)), (1.0, 2.0, -0.5, 1.0)
    tokens = softmax(*rows, advantage=advantage)
    change = [change_by_hand(p, a) for p, a in zip(rows, advantage, strict=True)]
    down, up = -sum(x for x in change if x < -1e-9), sum(x for x in change if x > 1e-9)
    balance = (down - up) / (down + up)
    signs = [-1, 1, 1, 0]
    assert [(x > 1e-9) - (x < -1e-9) for x in change] == signs
    w = decide(tokens, method("opefo")).weight
    assert w.tolist()[:3] == pytest.approx([1 + balance * s for s in signs[:3]], rel=1e-6)
    assert abs(balance) > 0.05
    assert sum(x * y for x, y in zip(w.tolist(), change, strict=True)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("estimator", ["exact", "published", "printed", "released"])
def test_opefo_leaves_no_predicted_change_whatever_the_estimator(estimator):
    tokens = batch(1)
    w = decide(tokens, method(f"opefo(estimator={estimator})")).weight
    change = omega(tokens, estimator=estimator, **ON_POLICY)
    assert abs(float((w * change).sum())) < 1e-12 < abs(float(change.sum()))
    assert set(w.sub(1).abs().round(decimals=9).unique().tolist()) <= {0.0, round(float((w - 1).abs().max()), 9)}


def test_opefo_drops_all_that_only_lowers_the_entropy():
    tokens = softmax((0.8, 0.2), (0.9, 0.1), advantage=(1.0, 1.0))
    assert decide(tokens, method("opefo")).weight.tolist() == [0, 0]


def test_the_mask_takes_the_largest_falls_and_no_more_than_fall():
    tokens = softmax((0.8, 0.2), (0.3, 0.7), (0.6, 0.4), (0.7, 0.3), (0.9, 0.1), advantage=(1.0, 1.0, 1.0, -1.0, 0.0))
    change = omega(tokens, estimator="exact", **ON_POLICY)
    assert change.sign().tolist() == [-1, 1, -1, 1, 0]
    for share, floor, expected in ((0.2, 0.0, [0]), (0.4, 0.5, [0, 2]), (1.0, 0.0, [0, 2])):
        w = decide(tokens, method(f"entropy_mask(share={share}, floor={floor})")).weight
        assert w.tolist() == [floor if i in expected else 1 for i in range(5)]
    rising = decide(tokens, method("entropy_mask(side=up, share=1.0)")).weight
    assert rising.tolist() == [1, 0, 1, 0, 1]


def test_the_mask_raises_the_predicted_entropy_and_its_control_is_of_equal_size():
    tokens = batch(2)
    change = omega(tokens, estimator="exact", **ON_POLICY)
    w, control = (decide(tokens, method(x)).weight for x in ("entropy_mask", "random_weight(share=0.2, floor=0.0)"))
    assert int((w == 0).sum()) == int((control == 0).sum()) == 25
    assert float((w * change).sum()) > max(float(change.sum()), float((control * change).sum()))


def test_forks_of_the_batch_and_of_each_response():
    tokens = stream((5, 3), (0, 0), entropy=[0.1, 0.5, 0.3, 0.2, 0.4, 0.9, 0.8, 0.7])
    assert forks(tokens, quantile=0.8, over="batch").tolist() == [0, 0, 0, 0, 0, 1, 1, 0]
    assert forks(tokens, quantile=0.8, over="response").tolist() == [0, 1, 0, 0, 0, 1, 0, 0]
    assert forks(tokens, quantile=0.5, over="response").tolist() == [0, 1, 0, 0, 1, 1, 0, 0]
    assert forks(tokens, quantile=0.0, over="batch").tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_forks_are_the_tokens_above_the_interpolated_quantile(quantile):
    for count in range(1, 12):
        tokens = batch(count, (count,), (0,))
        above = tokens.entropy > tokens.entropy.quantile(quantile) + 1e-12
        assert torch.equal(forks(tokens, quantile=quantile, over="response"), above)


def test_forks_settle_ties_by_key():
    tokens = batch(0, (6,), (0,))
    equal = dataclasses.replace(tokens, entropy=torch.ones(6, dtype=torch.float64))
    chosen = forks(equal, quantile=0.5, over="batch")
    assert set(chosen.nonzero().squeeze(1).tolist()) == set(equal.key.argsort()[:3].tolist())


def test_the_clip_is_wide_where_the_entropy_is_high():
    r = [1.4, 1.6, 0.7, 0.4, 1.1, 1.3, 0.9, 0.7]
    tokens = stream(
        logprob=[-1 + math.log(x) for x in r], old_logprob=[-1.0] * 8, entropy=[1.0] * 4 + [0.1] * 4,
        advantage=[1.0, 1.0, -1.0, -1.0] * 2,
    )  # fmt: skip
    clip = {"quantile": 0.5, "over": "batch", "low": 0.2, "high": 0.2, "fork_low": 0.5, "fork_high": 0.5}
    assert entropy_clip(tokens, **clip).tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    flipped = dataclasses.replace(tokens, advantage=-tokens.advantage)
    assert entropy_clip(flipped, **clip).all()
    assert sure_kl(tokens, c=0.1, quantile=0.5, over="batch").tolist() == [0] * 4 + [0.1] * 4


def test_with_one_width_it_has_the_gradient_of_ppo():
    tokens, plain = batch(4), method("grpo")
    _, expected = slopes(tokens, plain, decide(tokens, plain))
    for expression in ("archer(wide=0.2, c=0.0)", "hapo(low=0.2, fork_high=0.2)",
                       "bapo(low=0.8, low_most=0.8, high=1.2, high_most=1.2)"):  # fmt: skip
        chosen = method(expression)
        assert chosen.always_current
        _, slope = slopes(tokens, chosen, decide(tokens, chosen))
        torch.testing.assert_close(slope, expected)


def test_archer_holds_the_sure_tokens_to_the_reference():
    tokens, chosen = batch(5), method("archer(c=0.3, over=batch)")
    c = decide(tokens, chosen).penalties[0]
    assert int((c == 0).sum()) == 25
    assert float(tokens.entropy[c == 0].min()) >= float(tokens.entropy[c > 0].max())


def test_the_order_of_the_search():
    assert list(bounds(0.6, 0.7, 0.05, 1.2, 1.5, 0.2)) == [
        (0.6, 1.2), (0.65, 1.2), (pytest.approx(0.7), 1.2), (0.7, 1.4), (0.7, 1.5)
    ]  # fmt: skip


def test_bapo_moves_its_bounds_until_the_share_is_reached():
    """r A = 1, 1.6, 2.2 and -.65, -.85, -1, -4: at (.6, 1.2) the share is 1 / (1 + 6.5)."""
    r = [1.0, 1.6, 2.2, 0.65, 0.85, 1.0, 4.0]
    a = [1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0]
    tokens = stream(logprob=[-1 + math.log(x) for x in r], old_logprob=[-1.0] * 7, advantage=a)
    search = {"low": 0.6, "low_most": 0.9, "high": 1.2, "high_most": 3.0, "low_step": 0.1, "high_step": 0.5}
    cases = {
        0.13: [1, 0, 0, 1, 1, 1, 1],  # 1 / 7.5 = .133
        0.14: [1, 0, 0, 0, 1, 1, 1],  # low .7: 1 / 6.85 = .146
        0.16: [1, 0, 0, 0, 0, 1, 1],  # low .9: 1 / 6 = .167
        0.3: [1, 1, 0, 0, 0, 1, 1],  # high 1.7: 2.6 / 7.6 = .342
        0.45: [1, 1, 1, 0, 0, 1, 1],  # high 2.2: 4.8 / 9.8 = .490
        0.99: [1, 1, 1, 0, 0, 1, 1],  # out of reach
    }
    for rho, expected in cases.items():
        assert balanced_clip(tokens, rho=rho, **search).tolist() == expected


def test_bounds_that_could_not_be_searched_are_refused():
    for expression, word in (("bapo(high_step=0.0)", "high_step"), ("bapo(low_most=0.5)", "low_most"),
                             ("archer(quantile=1.5)", "quantile"), ("hapo(over=group)", "over"),
                             ("entropy_mask(side=left)", "side"), ("opefo(estimator=cov)", "estimator")):  # fmt: skip
        with pytest.raises(Exception, match=word):
            method(expression)
