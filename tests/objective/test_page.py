from __future__ import annotations

import shlex

import pytest

from isotherm.arguments import read_settings
from isotherm.objective import page
from isotherm.objective.advice import ADVICE
from isotherm.objective.compose import method, parse
from isotherm.objective.elsewhere import ELSEWHERE, Elsewhere
from isotherm.objective.page import COSTS, command, costs, explain, link, own_parts, slots, table
from isotherm.objective.parameters import MEANINGS, PUBLISHED, meaning, published
from isotherm.objective.published import METHODS

every_row = pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
PARAMETERS = [(row.name, name) for row in METHODS.values() for name in row.parameters]


def test_the_table_and_the_pages_are_made_from_the_rows():
    lines = table().splitlines()
    for name, row in METHODS.items():
        (line,) = [line for line in lines if line.split()[0:1] == [name]]
        assert row.paper in line
        assert row.knob in line
        shown = explain(name, 10_000)
        assert row.equation in shown
        assert all(f"  {p} = " in shown for p in row.parameters)
        assert all(part.__name__ in shown for part in own_parts(row))
    assert "updates = 1" in explain("kl_cov")
    assert "updates = 1" not in explain("par")


@pytest.mark.parametrize("width", [120, 100, 80])
def test_the_table_fits_the_terminal(width):
    lines = table(width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(sum(line.split()[0:1] == [name] for line in lines) == 1 for name in METHODS)
    assert (lines[0].split() == list(page.HEAD)) == (width == 120)


def test_a_row_of_the_table():
    wide = {line.split()[0]: line.split(maxsplit=3)[3] for line in table(120).splitlines() if line.startswith("kl_cov")}
    assert wide["kl_cov"].split() == [".pa.", "surrogate,", "penalties", "kl_cov.beta", "re-scoring,", "updates"]
    assert "\n  surrogate, penalties; knob kl_cov.beta; cost re-scoring, updates\n" in table(80)
    assert "\nrloo             arXiv 2402.14740  c.a.\n  advantage\n" in table(80)


@pytest.mark.parametrize(
    ("name", "filled", "cost"),
    [
        ("grpo", ["advantage"], []),
        ("par", ["weights", "control"], []),
        ("ppo_clip", ["surrogate"], ["updates"]),
        ("kl_cov", ["surrogate", "penalties"], ["re-scoring", "updates"]),
        ("rand_kl_cov", ["surrogate", "penalties"], ["updates"]),
        ("gspo", ["weights", "surrogate", "normalizer"], ["re-scoring"]),
        ("reference_kl", ["penalties"], ["reference"]),
        ("reference_ratio", ["shape"], ["re-scoring", "reference"]),
        ("a3po", ["shape", "control"], ["re-scoring"]),
    ],
)
def test_slots_and_costs(name, filled, cost):
    assert slots(METHODS[name]) == filled
    assert costs(METHODS[name]) == cost
    assert all(COSTS[key].split()[0] in explain(name) for key in cost)


def test_what_a_method_brings_of_its_own():
    assert [part.__name__ for part in own_parts(METHODS["kl_cov"])] == ["kl_cov", "distance", "ratio"]
    assert [part.__name__ for part in own_parts(METHODS["par"])] == ["par", "guided"]
    assert [part.__name__ for part in own_parts(METHODS["rloo"])] == ["leave_one_out"]


def test_every_row_has_its_advice():
    assert set(ADVICE) == set(METHODS)
    for advice in ADVICE.values():
        assert advice.use.endswith(".")
        assert advice.fails.endswith(".")


@pytest.mark.parametrize(("row", "parameter"), PARAMETERS)
def test_every_parameter_has_a_meaning(row, parameter):
    assert meaning(row, parameter)
    shown = " ".join(explain(row).split())
    assert f"{meaning(row, parameter)}. Published: {published(row, parameter)}." in shown


def test_no_meaning_and_no_value_without_a_parameter():
    dotted = {f"{row}.{name}" for row, name in PARAMETERS}
    plain = {name for row, name in PARAMETERS if f"{row}.{name}" not in MEANINGS}
    assert set(MEANINGS) <= dotted | plain
    assert set(PUBLISHED) <= dotted
    assert published("erc", "low") == "not confirmed"


@every_row
def test_the_command_line_is_the_row_with_its_defaults(row):
    words = shlex.split(command(row))
    assert words[:2] == ["isotherm", "train"]
    config, _ = read_settings(words[2:])
    method(config.method)
    (given,) = [arguments for term, arguments in parse(config.method) if term is row]
    assert given == {name: p.default for name, p in row.parameters.items()}
    assert f"\n  {command(row)}" in explain(row.name, 60)


def test_a_command_line_has_what_its_method_was_published_with():
    assert command(METHODS["opo"]) == "isotherm train --method 'opo' --updates 1"
    assert (
        command(METHODS["forking_tokens"])
        == "isotherm train --method 'clip_higher + forking_tokens(rho=0.2, edge=count)'"
    )


@every_row
def test_a_page_fits_the_terminal(row):
    run = command(row)
    assert all(len(line) <= 80 for line in explain(row.name, 80).splitlines() if line.strip() != run)


def test_the_settings_elsewhere_and_what_differs(monkeypatch):
    there = Elsewhere("clip_ratio=0.2", "", ("Its mean is over a micro-batch.",))
    monkeypatch.setitem(ELSEWHERE, "ppo_clip", there)
    assert explain("ppo_clip").endswith(
        "In verl (actor stands for actor_rollout_ref.actor)\n  clip_ratio=0.2\n\nIn TRL\n  nothing of the kind\n\n"
        "What differs there, and why\n  Its mean is over a micro-batch."
    )
    monkeypatch.delitem(ELSEWHERE, "ppo_clip")
    assert explain("ppo_clip").endswith("In verl and TRL\n  no matching setting is known")
    assert set(ELSEWHERE) <= set(METHODS)


def test_only_papers_on_arxiv_have_a_link():
    assert link(METHODS["kl_cov"]) == "https://arxiv.org/abs/2505.22617"
    assert link(METHODS["soft_return"]) == ""
