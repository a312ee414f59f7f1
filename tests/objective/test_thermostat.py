"""The thermostat on plants of which everything is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from isotherm.measure.curves import tracking
from isotherm.objective.knobs import KNOBS, TEMPERATURE, at_bound
from isotherm.objective.lines import line
from isotherm.objective.method import Measured
from isotherm.objective.thermostat import Thermostat, correct

STEPS = 125


def plant(thermostat, authority, *, fall=0.02, noise=0.01, seed=0, start=0.35):
    """H falls by a share and rises by authority * place of the first knob, through a momentum of .66."""
    draw, state = np.random.default_rng(seed), thermostat.init()
    h, push, rows = start, 0.0, []
    knob = thermostat.knobs[0]
    for step in range(1, STEPS + 1):
        seen = h + noise * draw.normal()

        def change(values, h=h):
            return -0.005 + 0.01 * knob.place(values[knob.name]) * h / start

        state = thermostat.update(state, Measured(step, STEPS, seen, noise, change))
        state = json.loads(json.dumps(state))
        places = [k.place(state["values"][k.name]) for k in thermostat.knobs]
        force = sum(a * p * k.direction for a, p, k in zip(authority, places, thermostat.knobs, strict=True))
        push = 0.66 * push + 0.34 * (start * force - fall * h)
        h = max(0.01, h + push)
        rows.append((seen, state["line"], *state["values"].values(), state["stuck"]))
    return np.array(rows).T


@pytest.mark.parametrize(("knob", "free"), [("entropy_bonus.c", 0.5), ("par.neg", 0.8)])
@pytest.mark.parametrize("authority", [0.03, 0.06, 0.12])
@pytest.mark.parametrize("text", ["0.3", "linear(start, 0.2)", "cosine(start, 0.2)"])
def test_the_line_is_held_although_the_gain_is_not_known(knob, free, authority, text):
    """The first order, which the pushed knob goes by, is right in one, two and four times too small in the others."""
    errors, inside = [], []
    for seed in range(4):
        seen, aim, value, _ = plant(Thermostat(line(text), (KNOBS[knob],), (0.0,), 0.66), [authority], seed=seed)
        errors.append(tracking(seen, aim)[STEPS // 10 :])
        inside.append(np.mean([not at_bound(KNOBS[knob], v) for v in value[STEPS // 10 :]]))
    assert np.mean(np.array(errors) < 0.05) > 0.9
    assert np.mean(inside) > free


@pytest.mark.parametrize("knob", ["par.pos", "par.neg"])
def test_a_knob_that_sets_a_level_holds_a_multiple_of_the_natural_course(knob):
    """As the built-in model answers PAR: log H comes to the natural fall plus .5 times the place, within 15 steps."""
    steps, at, natural = 60, [1, 5, 10, 15, 20, 30, 40, 60], [0.347, 0.274, 0.228, 0.2, 0.18, 0.155, 0.139, 0.117]
    course = 1.2 * np.exp(np.interp(np.linspace(1, steps, 13)[1:], at, np.log(natural)))
    text = f"points(start, {', '.join(f'{h:.3f}' for h in course)})"
    errors, inside = [], []
    for seed in range(4):
        draw, held = np.random.default_rng(seed), Thermostat(line(text), (KNOBS[knob],), (1.0,), 0.66)
        state, level, push, rows, rest = held.init(), 0.0, 0.0, [], KNOBS[knob].place(1.0)
        for step in range(1, steps + 1):
            noise = 0.02 + 0.045 * min(1, step / 25)
            h = np.exp(np.interp(step, at, np.log(natural)) + level)
            seen = h * (1 + noise * draw.normal())
            state = held.update(state, Measured(step, steps, seen, noise * h))
            value = state["values"][knob]
            away = held.knobs[0].direction * (held.knobs[0].place(value) - rest)
            push = 0.66 * push + 0.34 * (0.5 * away - level) / 15
            level += push
            rows.append((seen, state["line"], value))
        seen, aim, value = np.array(rows).T
        errors.append(tracking(seen, aim)[steps // 10 :])
        inside.append(np.mean([not at_bound(KNOBS[knob], v) for v in value]))
    assert np.mean(errors) < 0.035
    assert np.mean(np.array(errors) < 0.05) > 0.75
    assert np.mean(inside) > 0.8


def test_the_policy_is_taken_to_go_along_with_the_line():
    """Around the bend of a line a policy that goes along with it is no surprise: H, d and s stay as they are."""
    held = Thermostat(line("points(0.4, 0.3, 0.28)"), (KNOBS["entropy_bonus.c"],), (0.0,), 0.66)
    state = held.update(held.init(), Measured(1, 5, 0.4, 0.01))
    state |= {"mean": [0.4, 0.0, 1.5], "push": 0.0}
    for step, h in ((2, 0.35), (3, 0.3), (4, 0.29), (5, 0.28)):
        state = held.seen(state, Measured(step, 5, h, 0.01))
        assert state["mean"] == pytest.approx([h, 0.0, 1.5])


def test_a_learnt_knob_does_not_listen_to_the_first_order():
    """PAR's neg multiplies the changes, and an optimizer that divides by their size does not care."""
    found = []
    for size in (0.02, 5.0):
        held = Thermostat(line("0.3"), (KNOBS["par.neg"],), (1.0,), 0.66)
        state = held.init()
        for step in range(1, 20):
            h = 0.35 - 0.005 * step
            state = held.update(state, Measured(step, 20, h, 0.01, lambda values, size=size: size * values["par.neg"]))
        found.append(state)
    assert found[0] == found[1]


def test_of_a_pushed_knob_only_what_it_adds_to_its_rest_counts():
    """The first order of everything else goes into d, however it may jump about."""
    found = []
    for base in (0.0, 7.0):
        held = Thermostat(line("0.3"), (KNOBS["sampled_entropy.c"],), (0.001,), 0.66)
        state = held.init()
        for step in range(1, 20):
            h = 0.35 - 0.005 * step
            change = lambda values, step=step, base=base: 0.1 * values["sampled_entropy.c"] + base * (-1) ** step  # noqa: E731
            state = held.update(state, Measured(step, 20, h, 0.01, change))
        found.append(state["values"]["sampled_entropy.c"])
    assert found[0] == pytest.approx(found[1])
    assert found[0] > 0.001


def test_out_of_reach_the_knob_stays_at_its_bound_and_comes_back_at_once():
    """The line rises far above what the knob can do and comes back: nothing has wound up meanwhile."""
    text = "points(0.3, 0.3, 0.9, 0.9, 0.25, 0.2, 0.15, 0.12, 0.1)"
    held = Thermostat(line(text), (KNOBS["entropy_bonus.c"],), (0.0,), 0.66)
    _, aim, value, stuck = plant(held, [0.025], noise=0.004)
    assert (value[34:46] == KNOBS["entropy_bonus.c"].most).all()
    assert stuck[46] >= 10
    assert aim[60] < 0.35  # the line has crossed the entropy on its way down
    assert (value[59:64] == KNOBS["entropy_bonus.c"].least).all()


def test_what_the_first_knob_cannot_do_the_second_does():
    both = (KNOBS["par.pos"], KNOBS["par.neg"])
    alone, _, _, stuck_alone = plant(Thermostat(line("0.3"), both[:1], (1.0,), 0.66), [0.05], fall=0.06)
    seen, aim, _, second, stuck = plant(Thermostat(line("0.3"), both, (1.0, 1.0), 0.66), [0.05, 0.08], fall=0.06)
    assert tracking(seen, aim)[60:].mean() < 0.5 * tracking(alone, aim)[60:].mean()
    assert second[60:].mean() > 1
    assert stuck.max() < stuck_alone.max()


def test_the_temperature_moves_the_entropy_itself():
    """H of a softmax at temperature tau, the logits sharpening all the while."""
    logits, knob = np.random.default_rng(0).normal(size=50), KNOBS[TEMPERATURE]
    thermostat = Thermostat(line("linear(start, 2.5)"), (knob,), (1.0,), known=True)
    state, tau, rows = thermostat.init(), 1.0, []
    for step in range(1, STEPS + 1):
        z = logits * (1 + 0.01 * step) / tau
        log_pi = z - np.log(np.exp(z).sum())
        h = -(np.exp(log_pi) * log_pi).sum()
        spread = (np.exp(log_pi) * (log_pi + h) ** 2).sum()
        now = tau

        def change(values, spread=spread, now=now):
            return spread * np.log(values[TEMPERATURE] / now)

        state = thermostat.update(state, Measured(step, STEPS, h, 0.01, change))
        rows.append((h, state["line"]))
        tau = state["values"][TEMPERATURE]
    seen, aim = np.array(rows).T
    assert tracking(seen, aim)[STEPS // 10 :].max() < 0.02


def test_the_filter_is_that_of_the_textbook():
    """The posterior of (H, d, s) by the joint normal of state and measurement, conditioned."""
    mean, root = np.array([0.3, -0.01, 2.0]), np.random.default_rng(0).normal(size=(3, 3))
    cov = root @ root.T
    moved, moved_cov = Thermostat(line("0.3"), (), ()).predict(mean, cov, 0.02)
    assert moved == pytest.approx([0.3 - 0.01 + 2.0 * 0.02, -0.01, 2.0])
    walk = np.diag(moved_cov - (f := np.array([[1, 1, 0.02], [0, 1, 0], [0, 0, 1]])) @ cov @ f.T)
    assert (walk > 0).all()
    precision = np.linalg.inv(moved_cov) + np.diag([1 / 0.1**2, 0, 0])
    expected = np.linalg.inv(precision) @ (np.linalg.inv(moved_cov) @ moved + np.array([0.4 / 0.1**2, 0, 0]))
    found, found_cov = correct(moved, moved_cov, 0.4, 0.1)
    assert found == pytest.approx(expected)
    assert found_cov == pytest.approx(np.linalg.inv(precision))


def test_tracking_by_hand():
    assert tracking([1.0, 1.2, 0.8], [1.0, 1.0, 1.0], window=2) == pytest.approx([0.1, 0.0])


@pytest.mark.parametrize("h", [1e-9, 1e3])
def test_extreme_measurements_leave_numbers(h):
    held = Thermostat(line("0.3"), (KNOBS["par.pos"],), (1.0,), 0.66)
    state = held.init()
    for step in range(1, 30):
        state = held.update(state, Measured(step, 29, h, 0.0, lambda _: 0.0))
    assert np.isfinite([*state["mean"], state["push"], *state["values"].values()]).all()
