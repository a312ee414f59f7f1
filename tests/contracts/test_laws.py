"""The laws that every method of the table obeys."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import pickle
import random
import re

import pytest
import torch

from contracts.streams import batch, cuts, differentiable, permuted, relative, slopes, tied, with_leaves
from contracts.table import ADDS, EXPRESSIONS, OFF, ON
from isotherm.advantages import estimators
from isotherm.advantages.responses import estimate
from isotherm.objective import surrogates
from isotherm.objective.compose import method
from isotherm.objective.factors import bare
from isotherm.objective.method import Measured, Method, decide, loss
from isotherm.objective.page import parts
from isotherm.objective.published import METHODS, ROWS

every_method = pytest.mark.parametrize("expression", EXPRESSIONS)


def both(tokens, first: Method, second: Method):
    return slopes(tokens, first, decide(tokens, first)), slopes(tokens, second, decide(tokens, second))


@pytest.mark.parametrize(("off", "plain"), OFF.items())
def test_identity_when_off(off, plain):
    (a, slope_a), (b, slope_b) = both(batch(), method(off), method(plain))
    assert torch.equal(a, b)
    assert torch.equal(slope_a, slope_b)


def test_kl_cov_without_a_coefficient_is_the_bare_ratio():
    (a, slope_a), (b, slope_b) = both(batch(), method("kl_cov(beta=0.0)"), Method(surrogate=surrogates.ratio))
    assert torch.equal(a, b)
    assert torch.equal(slope_a, slope_b)


@pytest.mark.parametrize(("on", "plain"), ON.items())
def test_no_identity_when_on(on, plain):
    (_, slope_a), (_, slope_b) = both(batch(), method(on), method(plain))
    assert relative(slope_a, slope_b) > 1e-4


@every_method
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_any_split_of_the_batch_has_the_same_gradient(expression, micro):
    tokens, chosen = batch(1), method(expression)
    decision = decide(tokens, chosen)
    total, slope = slopes(tokens, chosen, decision)
    split_total, split_slope = slopes(tokens, chosen, decision, micro)
    assert len(cuts(tokens, micro)) == 12 / micro
    assert relative(split_slope, slope) < 1e-10
    assert abs(split_total - total) < 1e-10


@every_method
@pytest.mark.parametrize("change", [lambda t: t, tied], ids=["distinct", "tied"])
def test_the_order_of_responses_means_nothing(expression, change):
    tokens, chosen = change(batch(2)), method(expression)
    order = random.Random(0).sample(range(12), 12)
    moved, index = permuted(tokens, order)
    decision, moved_decision = decide(tokens, chosen), decide(moved, chosen)
    columns, moved_columns = flat(decision), flat(moved_decision)
    assert all(torch.allclose(x[index], y, rtol=1e-12) for x, y in zip(columns, moved_columns, strict=True))
    assert torch.equal(decision.weight[index] == 0, moved_decision.weight == 0)
    total, slope = slopes(tokens, chosen, decision)
    moved_total, moved_slope = slopes(moved, chosen, moved_decision)
    assert abs(total - moved_total) < 1e-12
    assert relative(moved_slope, slope[:, index]) < 1e-12


def flat(decision):
    return (decision.advantage, decision.weight, decision.normalizer, *decision.penalties)


@every_method
def test_a_decision_has_no_graph(expression):
    decision = decide(with_leaves(batch()), method(expression))
    assert not any(x.requires_grad for x in flat(decision))


@every_method
def test_gradients_against_finite_differences(expression):
    tokens, chosen = batch(3, (4, 1, 6), (0, 0, 5)), method(expression)
    decision = decide(tokens, chosen)

    def of(logprob, entropy, *extra):
        named = dict(zip(tokens.extra, extra, strict=True))
        return loss(dataclasses.replace(tokens, logprob=logprob, entropy=entropy, extra=named), chosen, decision)

    assert torch.autograd.gradcheck(of, tuple(differentiable(with_leaves(tokens))), eps=1e-7, atol=1e-6)


def extremes():
    """Log-probs of 0 and -1e4 on every side and advantages 0, 1, -1, 1e3, in every combination, in short responses."""
    corners = list(itertools.product((0.0, -1e4, -1.0), (0.0, -1e4, -1.0), (0.0, -1e4), (0.0, 1.0, -1.0, 1e3)))
    now, old, reference, advantage = torch.tensor(corners, dtype=torch.float64).T
    tokens = batch(4, [1] * len(corners), range(len(corners)))
    return dataclasses.replace(
        tokens, logprob=now, old_logprob=old, ref_logprob=reference, advantage=advantage, entropy=now.abs() * 1e-4
    )


@every_method
def test_extreme_values_stay_finite(expression):
    tokens, chosen = extremes(), method(expression)
    for kind in (torch.float64, torch.float32):
        these = tokens.map(lambda x, k=kind: x.to(k) if x.is_floating_point() else x)
        decision = decide(these, chosen)
        assert all(x.isfinite().all() for x in flat(decision))
        total, slope = slopes(these, chosen, decision)
        assert total.isfinite()
        assert slope.isfinite().all()


@every_method
@pytest.mark.parametrize("lengths", [(), (1,), (1, 1, 1)])
def test_tiny_batches(expression, lengths):
    tokens, chosen = batch(5, lengths, range(len(lengths))), method(expression)
    total, slope = slopes(tokens, chosen, decide(tokens, chosen))
    assert total.isfinite()
    assert slope.shape[1:] == (len(lengths),)
    assert slope.isfinite().all()
    assert len(lengths) or total == 0


@every_method
def test_no_signal_no_surrogate(expression):
    tokens, chosen = batch(6), method(expression)
    tokens = dataclasses.replace(tokens, advantage=torch.zeros_like(tokens.advantage))
    shape = tuple(part for part in chosen.shape if bare(part).__name__ not in ADDS)
    plain = dataclasses.replace(chosen, penalties=(), shape=shape)
    _, slope = slopes(tokens, plain, decide(tokens, plain))
    assert not slope.any()


@every_method
def test_surrogates_are_positively_homogeneous(expression):
    tokens, surrogate = batch(7), method(expression).surrogate
    per_token = torch.rand(len(tokens), dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    value = surrogate(tokens, tokens.advantage)
    for w in (torch.tensor(0.0), torch.tensor(0.3), torch.tensor(7.0), per_token):
        torch.testing.assert_close(surrogate(tokens, w * tokens.advantage), w * value, rtol=1e-12, atol=1e-14)


@every_method
def test_a_method_travels_as_text_and_as_pickle(expression):
    tokens, chosen = batch(8), method(expression)
    twins = [method(json.loads(json.dumps(chosen.name))), pickle.loads(pickle.dumps(chosen))]
    reward, group = torch.arange(5.0), torch.tensor([0, 0, 0, 3, 3])
    for twin in twins:
        (a, slope_a), (b, slope_b) = both(tokens, chosen, twin)
        assert twin.name == expression
        assert torch.equal(a, b)
        assert torch.equal(slope_a, slope_b)
        columns = {"length": torch.arange(1, 6), "likelihood": -torch.arange(5.0), "past": torch.ones(5, 3)}
        assert torch.equal(*(estimate(m.advantage, reward, group, **columns) for m in (chosen, twin)))
        assert [c.knob for c in twin.controls] == [c.knob for c in chosen.controls]


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if method(e).controls])
def test_the_state_of_a_control_travels_as_json_and_moves_its_knob(expression):
    tokens, chosen = batch(9), method(expression)
    control = chosen.controls[0]
    states = [control.init()] * 3  # of a run whose entropy is high, of one where it is low, and of one where it falls
    for i in range(50):
        falling = (5.0, 0.01, 5 * 0.9**i)
        states = [control.update(s, Measured(9, 10, h, own=h)) for s, h in zip(states, falling, strict=True)]
    state = max(states, key=lambda s: abs(s["value"] - control.start))
    assert json.loads(json.dumps(state)) == state
    assert state["value"] != control.start
    (_, slope_a), (_, slope_b) = both(
        tokens, *(chosen.with_knob(control.knob, v) for v in (control.start, state["value"]))
    )
    assert relative(slope_a, slope_b) > 1e-3


@pytest.mark.parametrize(("row", "knob"), [(row.name, knob) for row in ROWS for knob in row.knobs])
def test_the_knob_of_a_row_turns(row, knob):
    tokens, chosen = batch(13, spread=1.0), method(row)
    low = {name: 0.1 * getattr(tokens, name) for name in ("entropy", "old_entropy")}  # for what acts below a target
    tokens = dataclasses.replace(tokens, **low)
    (_, slope_a), (_, slope_b) = both(
        tokens, chosen.with_knob(knob.name, knob.least), chosen.with_knob(knob.name, knob.most)
    )
    assert relative(slope_a, slope_b) > 1e-6


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_cites_paper_and_equation(row):
    assert re.fullmatch(r"arXiv \d{4}\.\d{5}|\w+ (19|20)\d\d", row.paper)
    assert re.match(r"(eq|sec)\. \d|[a-z-]+ (schedule|rule)", row.equation)
    assert row.setting
    assert row.summary.endswith(".")
    assert all(inspect.getdoc(part) for part in parts(row.name))
    own = [part for part in parts(row.name) if part not in parts("grpo")] or parts(row.name)
    texts = [f"{part.__doc__} {inspect.getmodule(part).__doc__}" for part in own]
    assert any(row.paper.removeprefix("arXiv ") in text for text in texts), f"no part of {row.name} cites {row.paper}"


def test_the_table_names_every_row_once():
    assert len(METHODS) == len(ROWS)
    assert bare(method("grpo").advantage) is estimators.grpo
