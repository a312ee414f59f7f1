"""Writes docs/papers.md from the table of methods, its tests and the results in bench/: `make papers`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from isotherm.objective.compose import parse
from isotherm.objective.factors import Part
from isotherm.objective.page import link, own_parts
from isotherm.objective.published import ROWS, Row

ROOT = Path(__file__).parents[1]
FILES = [p for folder in ("advantages", "objective") for p in sorted((ROOT / "tests" / folder).glob("test_*.py"))]
EQUATIONS = [p for p in FILES if "import torch\n" in p.read_text(encoding="utf-8")]  # those with numbers
CLAIMS = sorted((ROOT / "tests" / "papers").glob("test_*.py"))
RESULTS = ROOT / "bench" / "results" / "seeds.json"

HEAD = """\
# Methods and their papers

Made by `make papers` from the table of methods, the tests and `bench/results`; a test holds it current. The equations,
parameters, advice and settings in other frameworks of a method are on its page, `isotherm methods NAME`.

*Equation* is where the paper defines the method: "rule" or "schedule" where a number of the equation could not be
confirmed. *Code* is the function that computes it. *Test* is the file that checks it on numbers worked out by hand.

*Reproduced* says what has been done here. Equation and laws, in all rows: numbers worked out by hand, and the tests in
`tests/contracts` (identity when off, the same gradient from any split of the batch, finite differences, extreme
values). A claim is a test of something that a paper says of the method and that needs no training. An effect is a
comparison over seeds on the built-in model, and "not trained" means that none has been made.

| method | paper | equation | what it does | code | test | reproduced |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    return HEAD + "".join(f"| {' | '.join(cells(row))} |\n" for row in ROWS)


def cells(row: Row) -> tuple[str, ...]:
    paper = f"[{row.paper}]({link(row)})" if link(row) else row.paper
    return (
        f"`{row.name}`", paper, row.equation, row.summary.replace("|", "\\|"),
        code(definition(row)), linked(test_of(row)), reproduced(row),
    )  # fmt: skip


def definition(row: Row) -> Part:
    """The function that cites the row's paper, else the first that the row brings."""
    own, paper = own_parts(row), row.paper.removeprefix("arXiv ")
    return next((part for part in own if paper in (part.__doc__ or "")), own[0])


def code(part: Part) -> str:
    path = f"src/{part.__module__.replace('.', '/')}.py"
    return f"[`{part.__name__}`](../{path})"


def linked(path: Path) -> str:
    return f"[{path.relative_to(ROOT / 'tests').as_posix()}](../{path.relative_to(ROOT).as_posix()})"


def test_of(row: Row) -> Path:
    """The file that mirrors the defining function's and names it, else the one that names function or row most."""
    function = definition(row)
    mirror = f"test_{function.__module__.rpartition('.')[2]}.py"

    def fits(path: Path) -> tuple[bool, int]:
        return path.name == mirror and mentions(path, function.__name__) > 0, mentions(
            path, function.__name__, row.name
        )

    return max(EQUATIONS, key=fits)


def mentions(path: Path, *words: str) -> int:
    return len(re.findall(rf"\b({'|'.join(words)})\b", path.read_text(encoding="utf-8")))


def reproduced(row: Row) -> str:
    claims = [f"claim: {linked(path)}" for path in CLAIMS if row.name in expressions(path)]
    return "; ".join(["equation, laws", *claims, *(effects(row) or ["effect: not trained"])])


def expressions(path: Path) -> set[str]:
    """The words at the head of the texts in a file: the methods that its tests build are among them."""
    return set(re.findall(r'"([a-z_0-9]+)', path.read_text(encoding="utf-8")))


def effects(row: Row) -> list[str]:
    """The comparisons over seeds that the method has a part in."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    arms = [arm for arm in results["arms"] if row in [term for term, _ in parse(arm)]]
    return [f"effect: `{arm}`, {results['seeds']} seeds, [seeds.json](../bench/results/seeds.json)" for arm in arms]


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
