"""A part of the user's own that fails inside a step is named."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

import isotherm
from contracts.streams import batch
from isotherm.objective.method import Method, Penalty, decide, loss
from isotherm.objective.penalties import entropy_bonus, negative_entropy


def zero(tokens, *_):
    return torch.ones(1 // 0)


FAILING = {
    "Your zero fails: ZeroDivisionError": zero,
    "not NoneType": lambda tokens, *_: None,
    "not float": lambda tokens, *_: 1.0,
    r"not a tensor of shape \(1,\)": lambda tokens, *_: torch.ones(1),
    r"not a tensor of shape \(\)": lambda tokens, *_: torch.tensor(1.0),
    r"not a tensor of shape \(8,\)": lambda tokens, *_: torch.ones(8),
}


@pytest.mark.parametrize("said", FAILING)
def test_every_slot_names_the_part_that_fails(said):
    part, tokens = FAILING[said], batch(0, (3, 4), (0, 0))
    coefficient = Penalty(negative_entropy, partial(entropy_bonus, c=0.1), part)
    for method in (
        Method(shape=(part,)),
        Method(weights=(partial(part),)),
        Method(normalizer=part),
        Method(deal=part),
        Method(surrogate=part),
        Method(penalties=(Penalty(negative_entropy, part),)),
        Method(penalties=(Penalty(part, partial(entropy_bonus, c=0.1)),)),
        Method(penalties=(coefficient,)),
    ):
        with pytest.raises(isotherm.UserError, match=said):
            loss(tokens, method, decide(tokens, method))


def nothing(tokens, *_):
    return tokens.advantage * math.nan


def test_nan_for_every_token_is_a_mistake_in_what_is_decided_alone():
    tokens = batch(0, (3, 4), (0, 0))
    for method in (Method(shape=(nothing,)), Method(weights=(nothing,)), Method(normalizer=nothing)):
        with pytest.raises(isotherm.UserError, match="Your nothing gives NaN for every token"):
            decide(tokens, method)
    method = Method(surrogate=nothing)
    assert loss(tokens, method, decide(tokens, method)).isnan()  # which `nonfinite` settles


def test_some_nan_is_for_the_training_to_find():
    tokens = batch(0, (3,), (0,))
    weight = torch.tensor([math.nan, 1.0, 2.0], dtype=torch.float64)
    assert decide(tokens, Method(weights=(lambda tokens: weight,))).weight[1:].tolist() == [1, 2]


@pytest.mark.parametrize("factors", [("nope",), ("clip", "entropie"), (zero,)])
def test_only_the_four_factors_are_read(factors):
    with pytest.raises(isotherm.UserError, match="takes some of clip, probability, advantage, entropy"):
        isotherm.reads(*factors)
