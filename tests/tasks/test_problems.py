"""Problem sets are the same everywhere, training and test never meet, and no response upsets a verifier."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotherm.errors import UserError
from isotherm.records import Problem, Verdict
from isotherm.tasks import FAMILIES, problem, problem_set, split_of, verify

GOLDEN = {  # SHA-256 of the first 50 prompts, by level; a change here changes every published result
    "countdown": ["e49acdb3a958ee7d", "0e5f0bf977b4db26", "fc08ed139d177429", "b77c0348d3455599"],
    "chain": ["4ace449cac722d6b", "d544c2fb24e50f0f", "9a5490002b344197", "bbdf327c6a282044"],
    "subset": ["40fa83f2dff96d5d", "51da6e7cb8fcc21c", "820efaaba7e22268", "923dc2ac442a9a83"],
    "fill": ["5e9c78c5e8e46328", "ae83b5c5cfa7c010", "ad8b5d091898355f", "60f18e126bb28d1e"],
    "ladder": ["0bd8a8942a0e8faf", "71d9589bcdc037a5", "5910180a65daf259", "bb95fcff16424d3f"],
    "route": ["6e1ff7a5597953d0", "44814fac969b0206", "a7b26f4a43a12cd8", "823b98b872e97d38"],
}
DIGESTS = """
import hashlib
from isotherm.tasks import FAMILIES, problem
for family in FAMILIES.values():
    for level in family.levels:
        prompts = [problem(family.name, level, 0, index).prompt for index in range(50)]
        print(family.name, level, hashlib.sha256("\\n".join(prompts).encode()).hexdigest()[:16])
"""
HOSTILE = [
    "", " ", "\n\n", "\0", "A\0B", "9" * 5000, "9" * 7, "1" * 10**6, " " * 10**6, "1+1=2," * 10**5, "-" * 1999,
    "__import__('os').system('true')", "²", "٣", "٣+٤=٧", "nan", "inf", "1e9", "--", "1+1=2\n1+1=2", "1+\n1=2", "None",
    "1" * 1999, "1," * 999 + "1", "1+" * 999 + "1", "1+1=2," * 300 + "1+1=2", "A" * 1999, "+1=1," * 399 + "+1=1",
    "1/0=0", "0/0=0", "*0=0", "\ud800", "\ufeff1", "1\u2028", "１+１=２",
]  # fmt: skip
FIRST = [problem(family.name, level, 3, 0) for family in FAMILIES.values() for level in family.levels]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_problems_are_those_published(name):
    for level, expected in zip(FAMILIES[name].levels, GOLDEN[name], strict=True):
        prompts = [problem(name, level, 0, index).prompt for index in range(50)]
        assert hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:16] == expected


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_the_problems_do_not_depend_on_the_hash_seed(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True)
    expected = [f"{name} {level} {d}" for name, row in GOLDEN.items() for level, d in enumerate(row, 1)]
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_training_and_test_never_meet(name):
    train, test = set(), set()
    for level in FAMILIES[name].levels:
        for seed in (0, 1):
            train |= {problem(name, level, seed, index, "train").key for index in range(500)}
            test |= {problem(name, level, seed, index, "test").key for index in range(300)}
    assert len(train) > 1000
    assert len(test) > 500
    assert not train & test


@pytest.mark.parametrize("name", FAMILIES)
def test_about_an_eighth_of_all_content_is_kept_for_tests(name):
    train = [problem(name, 4, 5, index).key for index in range(1000)]
    assert {split_of(name, key) for key in train} == {"train"}
    keys = [f"any content {number}" for number in range(4000)]
    assert 0.1 < sum(split_of(name, key) == "test" for key in keys) / len(keys) < 0.15


def test_a_set_has_no_repeats_and_begins_like_a_longer_one():
    long = problem_set("countdown", 1, seed=0, size=150)
    assert len({each.key for each in long}) == 150
    assert problem_set("countdown", 1, seed=0, size=40) == long[:40]
    assert problem_set("countdown", 1, seed=1, size=40) != long[:40]
    assert problem_set("countdown", 1, seed=0, size=0) == []


def test_seeds_levels_indices_and_splits_draw_differently():
    asked = [(2, 0, 0, "train"), (2, 0, 1, "train"), (2, 1, 0, "train"), (3, 0, 0, "train"), (2, 0, 0, "test")]
    assert len({problem("countdown", *each).prompt for each in asked}) == 5


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: problem("countdwn", 1, 0, 0), "did you mean countdown"),
        (lambda: problem("chain", 9, 0, 0), "1, 2, 3, 4"),
        (lambda: problem("chain", 1, 0, 0, "validation"), "train, test"),
        (lambda: problem_set("fill", 1, 0, 100_000, "test"), "different test problems"),
    ],
)
def test_what_does_not_exist_is_refused(ask, words):
    with pytest.raises(UserError, match=words):
        ask()


@pytest.mark.parametrize("each", FIRST, ids=lambda each: f"{each.family}:{each.level}")
def test_hostile_responses_are_judged_quickly(each):
    start = time.perf_counter()
    verdicts = {response[:20]: verify(each, response) for response in HOSTILE}
    assert set(verdicts.values()) <= {Verdict.UNPARSED, Verdict.WRONG}, verdicts
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("response", ["", "9" * 7, "9" * 5000, "1e9", "--", "٣", "²", "__import__('os')", "\0"])
@pytest.mark.parametrize("each", FIRST, ids=lambda each: f"{each.family}:{each.level}")
def test_what_is_no_answer_at_all_is_unparsed(each, response):
    assert verify(each, response) is Verdict.UNPARSED


@given(st.one_of(st.text(), st.text("0123456789+-*/=,.() "), st.text("ABCDEFGHIJ", max_size=12)))
def test_any_text_gets_a_verdict(response):
    asked = [*FIRST, Problem("file", 0, "p", "p", {"answer": "4"}), Problem("file", 0, "p", "p", {"answer": "four"})]
    assert all(verify(each, response) is not Verdict.ERROR for each in asked)


def test_a_failing_check_is_an_error_and_not_a_wrong_answer():
    assert verify(Problem("countdown", 1, "k", "p", {}), "1+1=2") is Verdict.ERROR
    assert verify(Problem("unheard of", 1, "k", "p", {}), "1+1=2") is Verdict.ERROR
