"""Every method that selects tokens has a random control of equal size."""

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.method import decide
from isotherm.objective.surrogates import clipped


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
