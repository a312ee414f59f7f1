import math

import pytest

from isotherm.objective.compose import method
from isotherm.objective.knobs import KNOBS, TEMPERATURE, at_bound
from isotherm.objective.method import knob_value
from isotherm.objective.published import ROWS


@pytest.mark.parametrize("knob", KNOBS.values(), ids=list(KNOBS))
def test_places_and_values_are_each_others_inverse(knob):
    assert knob.place(knob.least) == 0
    assert knob.place(knob.most) == 1
    for place in (0.01, 0.3, 0.99):
        assert knob.place(knob.value(place)) == pytest.approx(place)
    assert (knob.value(-1), knob.value(2)) == (knob.least, knob.most)
    assert at_bound(knob, knob.value(1.0))
    assert not at_bound(knob, knob.value(0.5))


def test_a_knee_bends_the_scale():
    knob = KNOBS["par.pos"]  # knee .05: half of the scale lies below
    assert knob.value(0.5) == pytest.approx(0.05 * (math.sqrt(21) - 1))


def test_every_knob_belongs_to_a_row_and_has_a_value_there():
    named = {knob.name: row for row in ROWS for knob in row.knobs}
    assert {*named, TEMPERATURE} == set(KNOBS)
    for name, row in named.items():
        value = knob_value(method(row.name), name)
        assert value is not None
        assert KNOBS[name].least <= value <= KNOBS[name].most or (name, value) == ("siren.anchor", -1)  # not known yet
