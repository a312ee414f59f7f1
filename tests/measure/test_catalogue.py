"""The table of metrics answers for every name, and only for those."""

from __future__ import annotations

import pytest

from isotherm.measure.catalogue import DERIVED, METRICS, describe, table


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_every_row_is_found_by_a_concrete_name(metric):
    name = metric.name.format(family="countdown", verdict="wrong", name="par/beta", side="held_out", k=16)
    found = describe(name)
    assert found is not None
    assert found.name == name
    assert (found.unit, found.reduction) == (metric.unit, metric.reduction)
    assert "{" not in found.definition
    assert found.definition.endswith(".")


def test_names_are_unique():
    assert len({m.name for m in METRICS}) == len(METRICS)


def test_trained_is_not_taken_for_a_family():
    trained, family = describe("eval/trained/pass@4"), describe("eval/chain/pass@4")
    assert trained is not None
    assert family is not None
    assert trained.reduction == "mean over families"
    assert "chain" in family.definition


@pytest.mark.parametrize("name", ["entropy", "eval/chain/pass@x", "pass@1/train/a/b", "knob/", ""])
def test_unknown_names_have_no_description(name):
    assert describe(name) is None


def test_table_shows_every_name():
    starts = {line.split("  ")[0] for line in table().splitlines()}
    assert {m.name for m in (*METRICS, *DERIVED)} <= starts
