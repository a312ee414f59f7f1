"""Every method that selects tokens has a random control of equal size."""

import dataclasses

import pytest
import torch

from contracts.streams import batch
from isotherm.errors import UserError
from isotherm.objective.compose import method
from isotherm.objective.deals import in_place, within_sign
from isotherm.objective.method import decide
from isotherm.objective.surrogates import clipped
from isotherm.tokens.draws import keys


def touched(expression, tokens):
    decision = decide(tokens, method(expression))
    return decision.penalties[0] != 0 if decision.penalties else decision.weight == 0


@pytest.mark.parametrize("share", [2e-4, 0.02, 0.05])
def test_equal_size_and_other_tokens(share):
    tokens = batch(3)
    for chosen, control in (("clip_cov(ratio={})", "rand_clip_cov(ratio={})"), ("kl_cov(k={})", "rand_kl_cov(k={})")):
        a, b = touched(chosen.format(share), tokens), touched(control.format(share), tokens)
        assert int(a.sum()) == int(b.sum()) == max(1, int(share * 125))
        assert not torch.equal(a, b)
    assert int(touched(f"rand_pos_clip(share={share})", tokens).sum()) == max(1, int(share * 125))


def test_the_control_of_clip_cov_leaves_clipped_tokens_out():
    tokens = batch(4, drift=2.0)
    stopped = clipped(tokens, low=1.0, high=1.0)
    assert stopped.any()
    assert torch.equal(touched("rand_clip_cov(ratio=1.0)", tokens), ~stopped & (tokens.advantage != 0))


@pytest.mark.parametrize("published", ["clip_cov", "kl_cov"])
def test_the_control_keeps_the_surrogate_of_what_it_controls(published):
    chosen, control = method(published), method("rand_" + published)
    assert str(chosen.surrogate) == str(control.surrogate)


def test_other_published_settings():
    settings = {"kl_cov": (2e-3, 1.0), "kl_cov_32b": (2e-4, 1.0), "kl_cov_shipped": (2e-4, 0.1),
                "kl_cov_digest": (1e-3, 1.0)}  # fmt: skip
    for name, (k, beta) in settings.items():
        assert method(name).penalties[0].coefficient.keywords == {"k": k, "beta": beta}
    assert method("clip_cov_digest").weights[0].keywords["ratio"] == 1e-4


def test_the_control_of_a_selection_by_entropy_or_by_its_change():
    tokens = batch(5)
    for expression, control in (
        ("forking_tokens", "random_weight"),
        ("steer_binary(floor=0.3)", "random_weight(share=0.2, floor=0.3)"),
    ):
        a, b = (decide(tokens, method(x)).weight for x in (expression, control))
        assert torch.equal(a.sort().values, b.sort().values)
        assert not torch.equal(a, b)


def test_a_deal_gives_each_token_that_of_one_other_of_its_sign():
    tokens = batch(6)
    giver, sign = within_sign(tokens), tokens.advantage.sign()
    assert torch.equal(giver.sort().values, in_place(tokens))
    assert torch.equal(sign[giver], sign)
    assert (giver == in_place(tokens)).double().mean() < 0.1
    assert set(sign.tolist()) == {-1.0, 0.0, 1.0}


def test_a_deal_is_uniform():
    """Of four tokens of one sign each gives to each in a quarter of the draws: 6 standard errors of 2000 are .058."""
    base = batch(7, (1, 1, 1, 1), range(4))
    base = dataclasses.replace(base, advantage=torch.ones_like(base.advantage))
    count = torch.zeros(4, 4)
    for seed in range(2000):
        giver = within_sign(dataclasses.replace(base, key=keys(seed, torch.arange(4))))
        count[torch.arange(4), giver] += 1 / 2000
    assert (count - 0.25).abs().max() < 0.058


SELECTIONS = [
    "clip_b(mu=1.0)", "clip_v(mu=1.0)", "lp_reg(kappa=0.001, share=0.5)", "stare(target=100.0)", "a3po", "erc(low=.01)",
    "siren(anchor=1.0)", "clip_cov(ratio=0.1, low=0.2)", "kl_cov(k=0.1)", "forking_tokens", "steer_binary",
    "entropy_mask",
]  # fmt: skip


@pytest.mark.parametrize("expression", SELECTIONS)
def test_any_selection_at_random_is_of_equal_size_on_either_side(expression):
    tokens = batch(8)
    mine, control = (decide(tokens, method(x)) for x in (expression, expression + " + at_random"))
    differs = False
    for sign in (-1, 0, 1):
        side = tokens.advantage.sign() == sign
        for a, b in zip(given(tokens, mine), given(tokens, control), strict=True):
            torch.testing.assert_close(a[side].sort().values, b[side].sort().values, rtol=1e-12, atol=1e-12)
            differs |= not torch.equal(a, b)
    assert differs


def given(tokens, decision):
    return (decision.advantage - tokens.advantage, decision.weight, *decision.penalties)


def test_two_deals_are_refused():
    with pytest.raises(UserError, match="at_random stands twice"):
        method("clip_b + at_random + at_random")


@pytest.mark.parametrize("expression", ["rand_kl_cov(k=1.5)", "rand_clip_cov(ratio=1.5)"])
def test_no_more_than_all_tokens_are_drawn(expression):
    with pytest.raises(UserError, match=r"must be 1 or less, not 1\.5"):
        method(expression)
