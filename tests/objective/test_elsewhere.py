"""The settings of other packages name rows, parameters and expressions that exist."""

import re

import pytest

from isotherm.objective.compose import method
from isotherm.objective.elsewhere import ELSEWHERE
from isotherm.objective.published import METHODS

PARAMETERS = {parameter for row in METHODS.values() for parameter in row.parameters}
OURS = re.compile(r"\b([a-z_]+)\(([a-z_]+=[^)]*)\)")  # name(parameter=value)


def test_every_key_is_a_row():
    assert set(ELSEWHERE) <= set(METHODS)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_entry_says_something(name):
    found = ELSEWHERE[name]
    assert found.verl or found.trl
    assert all(sentence.endswith(".") for sentence in found.differences)
    assert len(set(found.differences)) == len(found.differences)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_setting_gives_names_values_or_parameters_of_the_row(name):
    for setting in (ELSEWHERE[name].verl, ELSEWHERE[name].trl):
        for key in filter(None, setting.split(", ")):
            assert re.fullmatch(r"[a-z_.]+=[\w.+ -]+", key), key
            value = key.partition("=")[2]
            assert value not in PARAMETERS or value in METHODS[name].parameters, key


def test_every_switch_can_be_built_and_belongs_to_its_row():
    switches = [(name, call) for name, e in ELSEWHERE.items() for s in e.differences for call in OURS.finditer(s)]
    assert len(switches) > 12
    for _, call in switches:
        method(call.group())
    assert {call.group(1) for _, call in switches} <= set(METHODS)
