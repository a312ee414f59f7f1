"""docs/papers.md is what `make papers` writes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from isotherm.objective.published import METHODS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "papers.md"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "docs" / "papers.py"))


@pytest.fixture(scope="module")
def made(script) -> str:
    return script["page"]()


def test_the_page_is_current(made):
    assert PAGE.read_text(encoding="utf-8") == made, "docs/papers.md is out of date: run `make papers` and commit it."


def test_every_method_has_a_line_of_seven_cells(made):
    lines = [line for line in made.splitlines() if line.startswith("| `")]
    assert [re.split(r"(?<!\\)\|", line)[1].strip(" `") for line in lines] == list(METHODS)
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {9}


def test_every_link_leads_somewhere(made):
    links = re.findall(r"\]\(([^)]*)\)", made)
    assert all((PAGE.parent / link).is_file() for link in links if not link.startswith("https://arxiv.org/abs/"))
    assert "https://arxiv.org/abs/2505.22617" in links


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("rloo", "advantages/test_estimators.py"),
        ("qae", "advantages/test_quantile_and_gpg.py"),
        ("psr", "advantages/test_baselines.py"),
        ("kl_cov_32b", "objective/test_entropy_mechanism.py"),
        ("rand_kl_cov", "objective/test_random_controls.py"),
        ("gspo", "objective/test_clips.py"),
        ("entropy_bonus", "objective/test_penalties.py"),
        ("forking_tokens", "objective/test_entropy_baselines.py"),
    ],
)
def test_the_file_that_checks_an_equation_is_found(script, name, file):
    assert script["test_of"](METHODS[name]) == ROOT / "tests" / file


def test_every_test_file_names_the_function_or_the_method(script):
    for row in METHODS.values():
        text = script["test_of"](row).read_text(encoding="utf-8")
        assert {row.name, script["definition"](row).__name__} & set(re.findall(r"\w+", text)), row.name


def test_what_was_not_trained_says_so(script):
    assert script["reproduced"](METHODS["opo"]) == "equation, laws; effect: not trained"
    assert "effect: `kl_cov(k=0.2, beta=3)`, 5 seeds" in script["reproduced"](METHODS["kl_cov"])
    assert "claim: [papers/test_steer.py]" in script["reproduced"](METHODS["steer"])
