"""Forking tokens, Entropy-Adv and the adaptive entropy bonus."""

import dataclasses

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.interventions.adaptive_entropy import raise_while_low
from isotherm.objective.interventions.entropy_advantage import entropy_advantage
from isotherm.objective.interventions.forking_tokens import above_quantile, forking_tokens
from isotherm.objective.method import Measured, decide


def with_entropy(*values: float, advantage: float | list[float] = 0.0):
    n = len(values)
    return dataclasses.replace(
        batch(0, (n,), (0,)),
        entropy=torch.tensor(values, dtype=torch.float64),
        advantage=torch.as_tensor(advantage, dtype=torch.float64).expand(n),
    )


def test_only_the_tokens_of_high_entropy_count():
    assert forking_tokens(with_entropy(0.1, 2.0, 0.5, 1.0, 0.0), rho=0.4).tolist() == [0, 1, 0, 1, 0]
    assert forking_tokens(with_entropy(0.1, 2.0, 0.5), rho=0.01).tolist() == [0, 1, 0]


def test_the_share_is_of_the_batch_and_ties_do_not_exceed_it():
    tokens = batch(1)
    weight = decide(tokens, method("forking_tokens")).weight
    assert int(weight.sum()) == 25
    assert float(tokens.entropy[weight == 1].min()) >= float(tokens.entropy[weight == 0].max())
    assert forking_tokens(with_entropy(1.0, 1.0, 1.0, 1.0), rho=0.5).sum() == 2


def test_the_edge_may_be_a_quantile():
    """Of 0 to 10 the .8-quantile is 8, and of 0 to 9 it is 7.2; whoever is at the edge is in, so may be all."""
    assert above_quantile(with_entropy(*range(11)), rho=0.2).tolist() == [0] * 8 + [1] * 3
    assert forking_tokens(with_entropy(*range(11)), rho=0.2).tolist() == [0] * 9 + [1] * 2
    assert above_quantile(with_entropy(*range(10)), rho=0.2).tolist() == [0] * 8 + [1] * 2
    assert above_quantile(with_entropy(2.0, 1.0, 1.0, 1.0, 0.0), rho=0.4).tolist() == [1, 1, 1, 1, 0]


def test_the_advantage_grows_by_entropy_but_by_no_more_than_half_of_itself():
    tokens = with_entropy(1.0, 5.0, 1.0, 5.0, 3.0, advantage=[2.0, 2.0, -2.0, -2.0, 0.0])
    found = entropy_advantage(tokens, tokens.advantage)
    assert found.tolist() == pytest.approx([2.4, 3.0, -1.6, -1.0, 0.0])


def test_no_advantage_changes_its_sign():
    tokens = batch(2)
    found = decide(tokens, method("entropy_adv(alpha=100.0)")).advantage
    assert torch.equal(found.sign(), tokens.advantage.sign())
    assert (found >= tokens.advantage).all()


def coefficients(entropies, **knobs):
    state, values = {"value": 0.0}, []
    for step, entropy in enumerate(entropies, 1):
        state = raise_while_low(state, Measured(step, len(entropies), entropy), **knobs)
        values.append(state["value"])
    return values


def test_the_bonus_rises_while_entropy_is_low_and_is_off_above_the_target():
    """c goes .1 .2 .3 .2 .1 .2 .1; above the target it moves unseen; at the target it falls and is in force."""
    found = coefficients([0.1, 0.1, 0.1, 0.5, 0.5, 0.1, 0.2], target=0.2, delta=0.1, most=1.0)
    assert found == pytest.approx([0.1, 0.2, 0.3, 0, 0, 0.2, 0.1])


def test_the_bonus_has_bounds():
    assert coefficients([0.1] * 80)[-1] == 0.005
    assert coefficients([0.1] * 3) == pytest.approx([1e-4, 2e-4, 3e-4])
    assert coefficients([0.9, 0.9, 0.1]) == pytest.approx([0, 0, 1e-4])


def test_the_bonus_may_start_elsewhere_and_need_not_fall_to_nothing():
    """c goes .4 .3 .2 .2 .3 from .5, never below .2."""
    found = coefficients([0.3, 0.2, 0.2, 0.2, 0.1], target=0.2, delta=0.1, most=1.0, start=0.5, least=0.2)
    assert found == pytest.approx([0, 0.3, 0.2, 0.2, 0.3])


def test_the_knob_is_the_bonus_alone():
    chosen = method("adaptive_bonus + reference_kl(c=0.3)")
    moved = chosen.with_knob(chosen.controls[0].knob, 0.002)
    assert [p.coefficient.keywords["c"] for p in moved.penalties] == [0.002, 0.3]
