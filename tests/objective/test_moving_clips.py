"""Clips that a control moves: flexible entropy control, ADAPO, MAI."""

import dataclasses
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.interventions.flexible_clip import by_turns, flexible_clip
from isotherm.objective.method import Measured

BOUNDS = {"low": 0.2, "high": 0.25, "alpha": -0.4, "beta": 0.5}  # e(.5) = .3, e(.1) = .46, e(1) = .1


def slope(r, a, q, **parameters):
    one = batch(0, (1,), (0,))
    leaf = torch.tensor([math.log(q * r)], dtype=torch.float64, requires_grad=True)
    tokens = dataclasses.replace(one, logprob=leaf, old_logprob=torch.tensor([q], dtype=torch.float64).log())
    flexible_clip(tokens, torch.tensor([a], dtype=torch.float64), **parameters).sum().backward()
    return leaf.grad.item()


@pytest.mark.parametrize(
    ("mode", "q", "least", "most"),
    [
        (1.0, 0.5, 0.8, 1.3), (1.0, 0.1, 0.8, 1.46), (1.0, 1.0, 0.8, 1.1), (-1.0, 0.1, 0.54, 1.25),
        (-1.0, 0.5, 0.7, 1.25), (0.0, 0.1, 0.8, 1.25), (0.5, 0.1, 0.8, 1.355), (-0.5, 0.1, 0.67, 1.25),
    ],
)  # fmt: skip
def test_the_bounds_by_probability_and_mode(mode, q, least, most):
    rule = {**BOUNDS, "mode": mode}
    assert slope(most - 0.01, 2.0, q, **rule) == pytest.approx(2 * (most - 0.01))
    assert slope(most + 0.01, 2.0, q, **rule) == 0
    assert slope(least + 0.01, -2.0, q, **rule) == pytest.approx(-2 * (least + 0.01))
    assert slope(least - 0.01, -2.0, q, **rule) == 0
    assert slope(most + 1, -2.0, q, **rule) == pytest.approx(-2 * (most + 1))


def test_a_width_is_never_below_0():
    assert slope(1.01, 2.0, 1.0, low=0.2, high=0.2, alpha=-1.0, beta=0.5, mode=1.0) == 0
    assert slope(0.99, 2.0, 1.0, low=0.2, high=0.2, alpha=-1.0, beta=0.5, mode=1.0) == pytest.approx(1.98)


def modes(schedule, start, entropies, steps=10):
    state, found = {"value": start}, []
    for step, h in enumerate(entropies, 1):
        state = by_turns(state, Measured(step, steps, h), schedule=schedule, turn=0.5, floor=0.2)
        found.append(state["value"])
    return found


def test_the_three_schedules():
    # H0 = 1, floor .2, ceilings of the steps to come .91 .82 .73 .64 .56 .47 .38 .29 .2 .2
    entropies = [1.0, 0.5, 0.2, 0.4, 0.61, 0.3, 0.1, 0.25, 0.29, 0.1]
    assert modes("id", 1.0, entropies) == [1] * 4 + [-1] * 6
    assert modes("od", -1.0, entropies) == [-1, -1, 1, 1, -1, -1, 1, 1, -1, 1]
    assert modes("did", -1.0, entropies) == [-1, -1, 1, 1, -1, -1, -1, -1, -1, -1]


def test_between_floor_and_ceiling_nothing_turns():
    assert modes("od", -1.0, [1.0, 0.21, 0.7, 0.21, 0.5]) == [-1] * 5


def test_adapo_and_mai_move_the_upper_bound():
    (control,) = method("adapo(target=0.3)").controls
    state, found = control.init(), []
    for h in (0.1, 0.1, 0.1, 0.3, 0.9):
        state = control.update(state, Measured(1, 9, h))
        found.append(state["value"])
    assert found == pytest.approx([0.294, 0.3087, 0.32, 0.304, 0.2888])
    for _ in range(20):
        state = control.update(state, Measured(1, 9, 0.9))
    assert state["value"] == 0.2
    (control,) = method("mai(target=0.3, low=0.1)").controls
    state, found = control.init(), []
    for h in (0.1, 0.1, 0.3, 0.9, *[0.1] * 12):
        state = control.update(state, Measured(1, 9, h))
        found.append(state["value"])
    assert found[:5] == pytest.approx([0.125, 0.15, 0.15, 0.125, 0.15])
    assert found[-1] == pytest.approx(0.35)
    assert control.knob == "ppo_clip.high"


def test_a_mode_goes_with_no_schedule_only_where_it_is_one():
    assert method("flexible").controls[0].start == -1
    assert method("flexible(schedule=id)").surrogate.keywords["mode"] == 1
    assert method("flexible(schedule=none, mode=0.3)").controls == ()
    for expression, word in (("flexible(alpha=0.1)", "alpha"), ("flexible(mode=2.0)", "mode"),
                             ("flexible(schedule=up)", "schedule"), ("adapo(start=0.4)", "start"),
                             ("mai(delta=0.0)", "delta")):  # fmt: skip
        with pytest.raises(Exception, match=word):
            method(expression)
