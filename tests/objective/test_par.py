import dataclasses
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.errors import UserError
from isotherm.objective.compose import method
from isotherm.objective.interventions.par import par, par_exponential, rand_pos_clip
from isotherm.objective.method import Measured, decide
from isotherm.objective.surrogates import ratio
from isotherm.tokens.draws import keys


def run(expression, steps, entropies=None):
    """lambda in force at each step of a run."""
    (control,) = method(expression).controls
    state, values = control.init(), []
    for step in range(1, steps + 1):
        values.append(state["value"])
        state = control.update(state, Measured(step, steps, entropies[step - 1] if entropies else 1.0))
    return values


def test_weights_by_the_sign_of_the_advantage():
    tokens = batch()
    weight = par(tokens, pos=0.25, neg=0.75)
    assert torch.equal(weight == 0.25, tokens.advantage > 0)
    assert torch.equal(weight == 0.75, tokens.advantage < 0)
    assert torch.equal(weight == 1, tokens.advantage == 0)
    assert (tokens.advantage == 0).any()


def test_stage_is_0_for_half_of_the_run_and_then_rises_to_1():
    assert run("par(schedule=stage)", 8) == pytest.approx([0, 0, 0, 0, 1 / 7, 3 / 7, 5 / 7, 1])
    assert run("par(schedule=stage, begin=0.0)", 4) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert run("par(schedule=stage)", 1) == [0]


def test_epoch_rises_in_equal_steps_from_0_to_1():
    assert run("par(schedule=epoch, epochs=3)", 6) == pytest.approx([0, 0, 0.5, 0.5, 1, 1])
    assert run("par(schedule=epoch, epochs=5)", 5) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    with pytest.raises(UserError, match="epochs must be 2 or more"):
        method("par(schedule=epoch, epochs=1)")


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


def test_the_exponential_variant_by_hand():
    tokens = dataclasses.replace(batch(0, (4,), (0,)), advantage=torch.tensor([2.0, 0.5, 0.0, -3.0]).double())
    assert par_exponential(tokens, k=1.5).tolist() == pytest.approx([math.exp(-3), math.exp(-0.75), 1, 1])


def test_one_sign_alone():
    tokens = batch()
    a = tokens.advantage
    for name, kept in (("positive_only", a >= 0), ("negative_only", a <= 0)):
        weight = decide(tokens, method(name)).weight
        assert torch.equal(weight * a, torch.where(kept, a, 0.0))


def test_the_settings_of_the_clip_study():
    assert method("clip_lower").surrogate.keywords == {"low": 0.28, "high": 0.2, "dual": 0.0}
    assert method("clip_tighter").surrogate.keywords == {"low": 0.12, "high": 0.2, "dual": 0.0}
    assert method("no_clip").surrogate is ratio


def test_rand_pos_clip_draws_uniformly_among_the_positive():
    tokens = batch()
    count, times = 12, torch.zeros(len(tokens))
    for seed in range(300):
        these = dataclasses.replace(tokens, key=keys(seed, torch.arange(len(tokens))))
        gone = rand_pos_clip(these, share=0.1) == 0
        assert int(gone.sum()) == count
        times += gone
    positive = tokens.advantage > 0
    assert (times[~positive] == 0).all()
    mean = 300 * count / float(positive.sum())
    assert float((times[positive] - mean).abs().max()) < 5 * mean**0.5


def test_rand_pos_clip_takes_one_token_at_least_and_no_more_than_there_are():
    tokens = batch()
    positive = tokens.advantage > 0
    assert int((rand_pos_clip(tokens, share=1e-9) == 0).sum()) == 1
    assert torch.equal(rand_pos_clip(tokens, share=1.0) == 0, positive)
