"""Normal forms: two responses that mean the same have one, two that differ have two."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations
from random import Random

import pytest

from isotherm.records import Problem, Verdict
from isotherm.tasks import FAMILIES, normal, problem, verify
from isotherm.tasks.files import FAMILY
from isotherm.tasks.subset import choices

COUNTDOWN = {"target": 54, "numbers": [3, 7, 25]}


def form(family: str, data: dict, response: str) -> str | None:
    posed = Problem(family, 2, "", "", data)
    return normal(posed, response, verify(posed, response))


@pytest.mark.parametrize(
    ("numbers", "target", "same", "expression"),
    [
        ([3, 7, 25], 54, ["25-7=18,18*3=54", "25-7=18,3*18=54", " 25-7=18,3*18=54\n"], "(25-7)*3"),
        ([1, 2, 3], 6, ["1+2=3,3+3=6", "2+3=5,1+5=6", "3+1=4,2+4=6"], "1+2+3"),
        ([9, 5, 2], 6, ["9-5=4,4+2=6", "9+2=11,11-5=6", "5-2=3,9-3=6"], "2+9-5"),
        ([8, 4, 3], 6, ["8/4=2,2*3=6", "8*3=24,24/4=6", "3*8=24,24/4=6"], "3*8/4"),
        ([12, 6, 3], 6, ["6/3=2,12/2=6", "12*3=36,36/6=6", "12/6=2,2*3=6"], "12*3/6"),
        ([9, 2, 5, 4], 26, ["9-5=4,2*4=8", "9-5=4,4*4=16"], None),  # right for another target, so wrong here
    ],
)
def test_order_and_brackets_that_change_nothing_are_settled(numbers, target, same, expression):
    data = {"target": target, "numbers": numbers}
    if expression is None:
        assert len({form("countdown", data, text) for text in same}) == len(same)
    else:
        assert {form("countdown", data, text) for text in same} == {expression}


@pytest.mark.parametrize(
    ("numbers", "target", "different"),
    [
        ([2, 2, 4], 8, ["2*2=4,4+4=8", "2+2=4,4+4=8", "4*2=8,8+2=10", "4/2=2,2*2=4"]),
        ([1, 5, 6], 6, ["6-5=1,1*6=6", "5+1=6,6-6=0", "6/1=6,6+5=11", "6*1=6,6+5=11"]),
        ([3, 1, 4], 13, ["3*4=12,12+1=13", "4+1=5,5*3=15", "3*1=3,3+4=7"]),
    ],
)
def test_different_solutions_and_errors_stay_apart(numbers, target, different):
    forms = [form("countdown", {"target": target, "numbers": numbers}, text) for text in different]
    assert len(set(forms)) == len(forms)


def test_the_steps_of_wrong_answers_are_sorted_as_well():
    data = COUNTDOWN
    assert form("countdown", data, "25+7=33,3*33=99") == form("countdown", data, "7+25=33,33*3=99")
    assert form("countdown", data, "25-7=19,3*19=57") != form("countdown", data, "25-7=18,3*18=54")
    assert form("countdown", data, "7-25=18") != form("countdown", data, "25-7=18")


def value(text: str) -> float:
    """The value of an expression of whole numbers, by hand: no name, no call."""
    import ast
    import operator

    kinds = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}

    def at(node):
        if isinstance(node, ast.BinOp):
            return kinds[type(node.op)](at(node.left), at(node.right))
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, int)
        return node.value

    return at(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_the_expression_has_the_value_of_the_target(level):
    rng = Random("expressions")
    for index in range(100):
        posed = problem("countdown", level, 7, index)
        found = normal(posed, FAMILIES["countdown"].solve(posed.data, rng), Verdict.CORRECT)
        assert found is not None
        assert value(found) == pytest.approx(posed.data["target"])
        numbers = sorted(int(n) for n in "".join(c if c.isdigit() else " " for c in found).split())
        assert numbers == sorted(posed.data["numbers"])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_form_has_one_verdict(name):
    """Right and wrong responses never share a form, or a vote for it would be neither."""
    rng = Random("verdicts")
    for index in range(30):
        posed = problem(name, 2, 7, index)
        seen = defaultdict(set)
        for _ in range(20):
            for text in (FAMILIES[name].solve(posed.data, rng), FAMILIES[name].attempt(posed.data, rng)):
                seen[normal(posed, text, verify(posed, text))].add(verify(posed, text))
        assert all(len(verdicts) == 1 for verdicts in seen.values())


def test_the_forms_of_a_subset_sum_are_its_choices():
    posed = problem("subset", 3, 7, 1)
    orders = {
        form("subset", posed.data, "+".join(map(str, order)))
        for chosen in choices(posed.data)
        for order in permutations(chosen)
    }
    assert orders == {"+".join(map(str, sorted(chosen))) for chosen in choices(posed.data)}


@pytest.mark.parametrize("name", ["chain", "fill", "ladder", "route"])
def test_where_the_order_is_the_answer_it_stays(name):
    posed = problem(name, 3, 7, 0)
    answer = FAMILIES[name].solve(posed.data, Random("answers"))
    assert normal(posed, f" {answer}\n", Verdict.CORRECT) == answer


def test_answers_of_files_are_compared_by_what_they_say():
    half = {"answer": "0.5"}
    assert form(FAMILY, half, "so it is 1/2") == form(FAMILY, half, "first 7, then .5") == "1/2"
    assert form(FAMILY, half, "0.25") == "1/4"
    assert form(FAMILY, {"answer": "Paris"}, "France:\nParis ") == "Paris"
    assert form(FAMILY, half, "no number") is None


@pytest.mark.parametrize("text", ["", "I do not know", "1+2", "0" * 5000, "25-7=18;3*18=54"])
def test_no_answer_has_no_form(text):
    assert form("countdown", COUNTDOWN, text) is None


def test_a_failed_verifier_gives_no_form():
    assert normal(Problem("countdown", 2, "", "", {}), "1+2=3", Verdict.ERROR) is None
