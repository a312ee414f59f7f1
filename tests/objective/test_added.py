"""A row of the user's own stands in the table like any other, and its mistakes are sentences."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch

import isotherm
from contracts.streams import batch
from isotherm.advantages import estimators
from isotherm.objective import penalties
from isotherm.objective.added import add_method, sources
from isotherm.objective.compose import method
from isotherm.objective.method import Control, Penalty, decide
from isotherm.objective.page import explain, table
from isotherm.objective.published import METHODS


@pytest.fixture(autouse=True)
def same_table_afterwards():
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@isotherm.reads("probability", "advantage")
def surprise(tokens, *, c):
    """Weight 1 + c (1 - pi) where A > 0, else 1."""
    return torch.where(tokens.advantage > 0, 1 + c * (1 - tokens.logprob.exp()), 1.0)


def undeclared(tokens):
    return torch.ones_like(tokens.advantage)


def build(c: float = 1.0):
    """Unlikely tokens of right answers weigh more."""
    return {"weights": (partial(surprise, c=c),)}


def test_an_added_method_composes_like_any_other():
    isotherm.add_method("surprise", build)
    chosen = method("clip_higher + surprise(c=2.0)")
    assert chosen.surrogate.keywords["high"] == 0.28
    assert chosen.needs_current
    logprob = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64).log()
    advantage = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    tokens = dataclasses.replace(batch(0, (3,), (0,)), logprob=logprob, advantage=advantage)
    assert decide(tokens, chosen).weight.tolist() == pytest.approx([2.5, 2.0, 1.0])
    with pytest.raises(isotherm.UserError, match="surprise's c takes a value like"):
        method("surprise(c=high)")


def test_it_has_its_line_and_its_page():
    add_method("surprise", build, paper="arXiv 2601.00001", equation="eq. 1")
    (line,) = [line for line in table().splitlines() if line.startswith("surprise ")]
    assert line.split() == ["surprise", "arXiv", "2601.00001", "cpa.", "weights", "-", "re-scoring"]
    shown = explain("surprise")
    assert shown.startswith("surprise: Unlikely tokens of right answers weigh more.\narXiv 2601.00001, eq. 1. https://")
    assert "surprise: Weight 1 + c (1 - pi) where A > 0, else 1." in shown
    assert "\n  c = 1.0\n" in shown  # another method's c means something else
    assert "isotherm train --method 'surprise(c=1.0)'" in shown


def test_the_second_of_one_name_replaces_the_first():
    add_method("surprise", build)
    add_method("surprise", lambda: {"advantage": estimators.mean_only})
    assert method("surprise").advantage is estimators.mean_only


def test_every_slot_can_be_filled():
    def whole(c: float = 0.1, kind: str = "plain", times: int = 2):
        """All slots."""
        return {
            "advantage": lambda reward, group: reward,
            "shape": (isotherm.reads("advantage")(lambda tokens, advantage: 2 * advantage),),
            "surrogate": isotherm.reads("advantage")(lambda tokens, advantage: tokens.logprob * advantage),
            "penalties": (Penalty(penalties.negative_entropy, partial(penalties.entropy_bonus, c=c)),),
            "controls": (Control("entropy_bonus.c", c, lambda state, measured: state),),
        }

    add_method("whole", whole)
    assert method("whole(c=0.5)").controls[0].start == 0.5


def test_two_methods_do_not_move_one_knob():
    add_method("steady", lambda: {"controls": (Control("par.pos", 0.5, lambda state, measured: state),)})
    with pytest.raises(isotherm.UserError, match=r"par and steady both move the knob par\.pos"):
        method("par + steady")


def raises():
    raise KeyError("c")


MISTAKES = {
    "kl_cov": (build, "has a method named kl_cov already"),
    "a b": (build, "cannot be a method's name"),
    3: (build, "cannot be a method's name"),
    "no_function": (3, "must be a function, not 3"),
    "no_default": (lambda c: {}, "parameter c needs a default"),
    "odd_default": (lambda c=(1,): {}, "parameter c needs a default"),
    "any_parameter": (lambda **c: {}, "parameter c needs a default"),
    "fails": (raises, "cannot be built: KeyError: 'c'."),
    "nothing": (lambda: {}, "fills {}; the slots are: advantage, surrogate"),
    "none": (lambda: None, "fills None; the slots are"),
    "misspelt": (lambda: {"weight": ()}, "fills weight; the slots are"),
    "no_tuple": (lambda: {"weights": surprise}, "weights of the method no_tuple takes a tuple of parts"),
    "a_tuple": (lambda: {"surrogate": (surprise,)}, "surrogate of the method a_tuple takes one part"),
    "no_penalty": (lambda: {"penalties": (surprise,)}, "penalties of the method no_penalty takes a tuple of Penalty"),
    "no_control": (lambda: {"controls": (3,)}, "takes a tuple of Control"),
    "no_part": (lambda: {"weights": (3,)}, "has 3 in a slot where a function belongs"),
    "undeclared": (lambda: {"weights": (undeclared,)}, "undeclared does not say what it reads; write @isotherm.reads"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_changes_nothing(name):
    build, said = MISTAKES[name]
    before = dict(METHODS)
    with pytest.raises(isotherm.UserError) as caught:
        add_method(name, build)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before == METHODS


def test_the_text_of_an_added_method_is_that_of_its_functions():
    add_method("surprise", build)
    text = sources("surprise + clip_higher")
    assert text.startswith("def build(c: float = 1.0):\n")
    assert "1 + c * (1 - tokens.logprob.exp())" in text
    assert "ppo_clip" not in text
    assert sources("clip_higher + kl_cov") == ""
    add_method("surprise", eval("lambda: {'advantage': f}", {"f": estimators.grpo}))
    assert sources("surprise") == "# The text of <lambda> could not be found.\n"
