import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.interventions.par import par
from isotherm.objective.method import Measured


def run(expression, steps, entropies=None):
    """lambda in force at each step of a run."""
    control = method(expression).control
    state, values = control.init(), []
    for step in range(1, steps + 1):
        values.append(state["value"])
        state = control.update(state, Measured(step, steps, entropies[step - 1] if entropies else 1.0))
    return values


def test_weights_by_the_sign_of_the_advantage():
    tokens = batch()
    weight = par(tokens, pos=0.25, neg=0.75)
    assert torch.equal(weight == 0.25, tokens.advantage > 0)
    assert torch.equal(weight == 0.75, tokens.advantage <= 0)
    assert (tokens.advantage == 0).any()


def test_stage_is_0_for_half_of_the_run_and_then_rises_to_1():
    assert run("par(schedule=stage)", 8) == pytest.approx([0, 0, 0, 0, 0, 0.25, 0.5, 0.75])
    assert run("par(schedule=stage, begin=0.0)", 4) == pytest.approx([0, 0.25, 0.5, 0.75])


def test_epoch_rises_in_equal_steps_from_0_to_1():
    assert run("par(schedule=epoch, epochs=3)", 6) == pytest.approx([0, 0, 0.5, 0.5, 1, 1])
    assert run("par(schedule=epoch, epochs=5)", 5) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert run("par(schedule=epoch, epochs=1)", 3) == [0, 0, 0]


def test_guided_follows_the_entropy_and_stays_within_0_and_1():
    entropies = [0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.2]
    assert run("par(delta=0.4)", 8, entropies) == pytest.approx([0, 0.4, 0.8, 1, 0.6, 0.2, 0, 0])
    assert run("par(delta=0.4, target=0.05)", 4, entropies) == pytest.approx([0, 0.4, 0.8, 1])


def test_the_published_setting_starts_at_0_and_moves_by_a_twentieth():
    assert run("par", 4) == pytest.approx([0, 0.05, 0.1, 0.15])


def test_a_knob_sets_only_its_own_part():
    m = method("clip_higher + par + kl_cov").with_knob("par.pos", 0.6)
    assert [w.keywords["pos"] for w in m.weights] == [0.6]
    assert m.surrogate.keywords["high"] == 0.28
    assert m.penalties[0].coefficient.keywords == {"k": 2e-3, "beta": 1.0}
    assert m.with_knob("kl_cov.beta", 0.1).penalties[0].coefficient.keywords == {"k": 2e-3, "beta": 0.1}
