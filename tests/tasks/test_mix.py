"""The text that names what a run trains on."""

from __future__ import annotations

import pytest

from isotherm.errors import UserError
from isotherm.tasks import parse_mix


def test_families_with_and_without_levels():
    assert parse_mix("countdown:2,chain,subset:3") == [("countdown", 2), ("chain", 2), ("subset", 3)]
    assert parse_mix(" route:4 , route:3") == [("route", 4), ("route", 3)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("countdow:2", ["'countdow'", "countdown, chain, subset, fill, ladder, route", "did you mean countdown?"]),
        ("CHAIN", ["'CHAIN'", "did you mean chain?"]),
        ("zzz", ["'zzz'", "choose among countdown"]),
        ("", ["''", "choose among countdown"]),
        ("chain,,subset", ["''", "choose among countdown"]),
        ("chain:5", ["chain", "'5'", "1, 2, 3, 4."]),
        ("chain:", ["chain", "''", "1, 2, 3, 4."]),
        ("chain:02", ["'02'", "did you mean 2?"]),
        ("chain:2:3", ["'2:3'"]),
        ("chain:two", ["'two'"]),
        ("chain:٢", ["'٢'"]),
        ("chain:2,subset:1,chain", ["names chain:2 twice"]),
    ],
)
def test_mistakes_are_named(text, words):
    with pytest.raises(UserError) as caught:
        parse_mix(text)
    assert all(word in str(caught.value) for word in words), caught.value
