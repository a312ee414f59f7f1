"""Functionals of the whole distribution, by hand, against float64, by finite differences, and on every path."""

import dataclasses
import math
import pickle
from functools import partial

import pytest
import torch

from contracts.streams import FUNCTIONALS, batch, slopes
from isotherm.objective.compose import method
from isotherm.objective.functionals import name_of, value
from isotherm.objective.interventions.aent import clamped_entropy, projected
from isotherm.objective.interventions.lp_reg import likeliest, lp_reg, proxy_divergence
from isotherm.objective.interventions.siren import keep_first, nucleus_entropy, selected_entropy, siren
from isotherm.objective.knobs import KNOBS
from isotherm.objective.method import Measured, decide
from isotherm.tokens.score import score


def entropy(*p):
    total = sum(p)
    return -sum(x / total * math.log(x / total) for x in p)


def log_p(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_the_entropy_of_the_nucleus():
    logp = log_p((0.5, 0.3, 0.15, 0.05), (0.1, 0.2, 0.3, 0.4), (0.9, 0.05, 0.03, 0.02), (1.0, 0.0, 0.0, 0.0))
    expected = [entropy(0.5, 0.3), entropy(0.4, 0.3, 0.2), 0.0, 0.0]
    assert nucleus_entropy(logp, mass=0.75).tolist() == pytest.approx(expected)
    assert nucleus_entropy(logp, mass=1.0).tolist()[:2] == pytest.approx([entropy(0.5, 0.3, 0.15, 0.05), 1.2798542])


def test_the_entropy_of_the_likelier_part_of_the_vocabulary():
    logp = log_p((0.5, 0.3, 0.15, 0.05), (0.1, 0.2, 0.3, 0.4), (1.0, 0.0, 0.0, 0.0))
    assert clamped_entropy(logp, p=0.25).tolist() == pytest.approx([entropy(0.5, 0.3, 0.15), entropy(0.2, 0.3, 0.4), 0])
    assert clamped_entropy(logp, p=0.5).tolist() == pytest.approx([entropy(0.5, 0.3), entropy(0.3, 0.4), 0])
    assert clamped_entropy(logp, p=0.0).tolist()[0] == pytest.approx(entropy(0.5, 0.3, 0.15, 0.05))
    assert clamped_entropy(logp, p=0.999).tolist() == pytest.approx([0, 0, 0])


def test_the_divergence_from_the_proxy_and_its_gradient_with_the_proxy_held_fixed():
    p = torch.tensor([[0.6, 0.3, 0.09, 0.01], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)
    z = p.log().requires_grad_()
    logp = z.log_softmax(-1)
    found = proxy_divergence(logp, kappa=0.1)
    assert found.tolist() == pytest.approx([-math.log(0.99), 0.0], abs=1e-12)  # 0.01 < .1 times .6
    q = torch.tensor([[0.6, 0.3, 0.09, 0.0], [0.25] * 4], dtype=torch.float64)
    q = q / q.sum(-1, keepdim=True)
    divergence = (q * (q.clamp_min(1e-300).log() - logp)).sum(-1)
    assert divergence.tolist() == pytest.approx(found.tolist(), abs=1e-12)
    (a,), (b,) = (torch.autograd.grad(x.sum(), z, retain_graph=True) for x in (found, divergence))
    torch.testing.assert_close(a, b)
    assert a[0].tolist() == pytest.approx([0.6 - 0.6 / 0.99, 0.3 - 0.3 / 0.99, 0.09 - 0.09 / 0.99, 0.01])


SETTINGS = {
    "nucleus": partial(nucleus_entropy, mass=0.8),
    "clamped": partial(clamped_entropy, p=0.3),
    "proxy": partial(proxy_divergence, kappa=0.02),
    "likeliest": likeliest,
}


@pytest.mark.parametrize("functional", SETTINGS.values(), ids=SETTINGS)
def test_slopes_by_finite_differences(functional):
    z = 2 * torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: functional(x.log_softmax(-1)), z.requires_grad_())


@pytest.mark.parametrize("functional", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_extreme_logits_give_numbers(functional, scale):
    """Even where most words have no probability at all; float32 agrees with float64."""
    z = scale * torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    leaf = z.clone().requires_grad_()
    found = functional(leaf.log_softmax(-1))
    found.sum().backward()
    assert leaf.grad is not None
    assert found.isfinite().all()
    assert leaf.grad.isfinite().all()
    torch.testing.assert_close(found.double(), functional(z.double().log_softmax(-1)), rtol=1e-5, atol=1e-5)


def test_the_scores_of_a_model_carry_them():
    """Against the definition in float64, value and gradient, with bias, cap and temperature."""
    generator = torch.Generator().manual_seed(2)
    hidden, weight = torch.randn(7, 8, generator=generator), torch.randn(60, 8, generator=generator)
    bias, target = torch.randn(60, generator=generator), torch.randint(60, (7,), generator=generator)
    leaf, exact = hidden.clone().requires_grad_(), hidden.double().requires_grad_()
    options = {"bias": bias, "cap": 5.0}
    found = score(leaf, weight, target, 0.7, functionals=SETTINGS, **options).extra
    logits = 5 * torch.tanh((exact @ weight.double().T + bias.double()) / 5)
    logp = (logits / 0.7).log_softmax(-1)
    for name, f in SETTINGS.items():
        torch.testing.assert_close(found[name].double(), f(logp), rtol=1e-5, atol=1e-5)
        (a,), (b,) = (
            torch.autograd.grad(x.sum(), y, retain_graph=True) for x, y in ((found[name], leaf), (f(logp), exact))
        )
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_two_settings_of_one_functional_are_two_columns():
    both = method("siren(p=0.8) + aent(p=0.3)").functionals | method("siren(p=0.5)").functionals
    assert list(both) == ["nucleus_entropy(mass=0.8)", "clamped_entropy(p=0.3)", "nucleus_entropy(mass=0.5)"]
    assert list(method("lp_reg").functionals) == ["likeliest()", "proxy_divergence(kappa=0.02)"]
    assert method("grpo + entropy_bonus").functionals == {}
    again = pickle.loads(pickle.dumps(method("siren")))
    assert name_of(next(iter(again.functionals.values()))) == "nucleus_entropy(mass=0.8)"


def test_what_was_not_computed_is_missed_with_a_sentence():
    with pytest.raises(ValueError, match=r"clamped_entropy\(p=0.111\) was not computed"):
        value(batch(), partial(clamped_entropy, p=0.111))


NUCLEUS = FUNCTIONALS["nucleus_entropy(mass=0.8)"]


def four(h, nucleus):
    columns = {"entropy": torch.tensor(h, dtype=torch.float64)}
    extra = {name_of(NUCLEUS): torch.tensor(nucleus, dtype=torch.float64)}
    return dataclasses.replace(batch(0, (4,), (0,)), **columns, extra=extra)


def test_siren_is_the_gradient_of_a_square_of_a_mean():
    tokens = four([0.1, 0.9, 0.8, 0.3], [0.05, 0.6, 0.4, 0.2])  # selected are the second and the third: H_sel = .5
    rule = {"share": 0.5, "functional": NUCLEUS}
    assert siren(tokens, c=0.1, anchor=0.2, **rule).tolist() == pytest.approx([0, 0.12, 0.12, 0])
    assert siren(tokens, c=0.1, anchor=0.9, **rule).tolist() == pytest.approx([0, -0.16, -0.16, 0])
    assert float(selected_entropy(tokens, **rule)) == pytest.approx(0.5)
    chosen = method("siren(c=0.1, share=0.5, anchor=0.2)")
    alone = dataclasses.replace(chosen, weights=(lambda t: torch.zeros_like(t.advantage),))
    found = slopes(tokens, alone, decide(tokens, alone))[1][-1]
    leaf = tokens.extra[name_of(NUCLEUS)].clone().requires_grad_()
    (0.1 * (leaf[1:3].mean() - 0.2) ** 2).backward()
    torch.testing.assert_close(found, leaf.grad)


def test_siren_has_no_pull_before_there_is_an_anchor_and_keeps_the_first():
    tokens, chosen = batch(1), method("siren")
    assert not decide(tokens, chosen).penalties[0].any()
    state = chosen.controls[0].init()
    for own, expected in ((None, -1.0), (0.7, 0.7), (0.3, 0.7), (None, 0.7)):
        state = keep_first(state, Measured(1, 9, 0.5, own=own))
        assert state["value"] == expected
    assert decide(tokens, chosen.with_knob("siren.anchor", 0.7)).penalties[0].any()
    assert method("siren(anchor=0.4)").controls == ()


def test_aent_moves_its_coefficient_towards_the_target():
    state = {"value": 1e-3}
    rule = {"target": 0.2, "rate": 0.01, "most": 2e-3}
    for own, expected in ((0.3, 0.0), (0.1, 1e-3), (None, 1e-3), (0.15, 1.5e-3), (0.0, 2e-3), (0.2, 2e-3)):
        state = projected(state, Measured(1, 9, 5.0, own=own), **rule)
        assert state["value"] == pytest.approx(expected, abs=1e-12)


def test_lp_reg_keeps_what_is_rare_but_no_noise():
    tokens = dataclasses.replace(
        batch(0, (6,), (0,)),
        logprob=torch.tensor([-3.0, -9.0, -2.0, -1.0, -8.0, -4.0], dtype=torch.float64),
        advantage=torch.tensor([-1.0, -1.0, -1.0, -1.0, 1.0, -1.0], dtype=torch.float64),
        extra={"likeliest()": torch.full((6,), -0.5, dtype=torch.float64)},
    )
    kappa = math.exp(-4.0)  # keeps log pi >= -4.5
    assert lp_reg(tokens, beta=0.7, share=0.6, kappa=kappa).tolist() == [0.7, 0, 0, 0, 0, 0.7]  # 3 of 5, less one
    assert lp_reg(tokens, beta=1.0, share=0.1, kappa=kappa).tolist() == [0] * 6
    assert lp_reg(tokens, beta=1.0, share=0.1, kappa=math.exp(-9)).tolist() == [0, 1, 0, 0, 0, 0]


def test_the_row_needs_its_scores_under_the_current_policy():
    for expression in ("siren", "aent", "lp_reg"):
        assert method(expression).always_current
        assert method(expression).needs_current
        assert set(method(expression).functionals) <= set(FUNCTIONALS)
    assert KNOBS["siren.anchor"].least == 0
