"""Problems by number, split into training and test by content, and the verdict on a response."""

from __future__ import annotations

import hashlib
from itertools import count
from random import Random

from isotherm.errors import UserError
from isotherm.records import Problem, Rollout, Verdict
from isotherm.tasks import files
from isotherm.tasks.registry import FAMILIES, family_named, level_of

SPLITS = ("train", "test")
TEST_BYTES = 32  # of 256: an eighth of all problems, by content, is kept for tests
FRUITLESS = 1000  # repeated draws in a row after which a level counts as exhausted

CHECKS = {**{name: family.check for name, family in FAMILIES.items()}, files.FAMILY: files.check}
NORMALS = {**{name: family.normal for name, family in FAMILIES.items()}, files.FAMILY: files.normal}


def split_of(family: str, key: str) -> str:
    """`test` where the first byte of SHA-256(family:key) is below 32, `train` elsewhere, whatever the seed."""
    return "test" if hashlib.sha256(f"{family}:{key}".encode()).digest()[0] < TEST_BYTES else "train"


def problem(family: str, level: int, seed: int, index: int, split: str = "train") -> Problem:
    """The problem of that number: its own random generator draws until the content falls into the split."""
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}: choose among {', '.join(SPLITS)}.")
    kind = family_named(family)
    level_of(kind, str(level))
    rng = Random(f"{family}:{level}:{seed}:{split}:{index}")
    while True:
        data = kind.generate(rng, level)
        key = kind.key(data)
        if split_of(family, key) == split:
            return Problem(family=family, level=level, key=key, prompt=kind.prompt(data), data=data)


def problem_set(family: str, level: int, seed: int, size: int, split: str = "train") -> list[Problem]:
    """The first `size` different problems; a shorter set is the beginning of a longer one."""
    found: dict[str, Problem] = {}
    last = 0  # number of the last problem that was new
    for index in count():
        if len(found) >= size:
            return list(found.values())
        if index - last > FRUITLESS:
            break
        new = problem(family, level, seed, index, split)
        if new.key not in found:
            found[new.key], last = new, index
    raise UserError(f"{family}:{level} has only about {len(found)} different {split} problems: ask for no more.")


def verify(problem: Problem, response: str) -> Verdict:
    """The verdict on a response; ERROR where the check itself fails."""
    try:
        return CHECKS[problem.family](problem.data, response)
    except Exception:
        return Verdict.ERROR


def normal(problem: Problem, response: str, verdict: Verdict) -> str | None:
    """Equal for two responses to a problem that mean the same; None where the verifier found no answer."""
    if verdict in (Verdict.UNPARSED, Verdict.ERROR):
        return None
    return NORMALS[problem.family](problem.data, response)


def forms(rollout: Rollout) -> list[str | None]:
    """The normal form of each response."""
    rows = zip(rollout.group.tolist(), rollout.texts, rollout.verdicts, strict=True)
    return [normal(rollout.problems[group], text, verdict) for group, text, verdict in rows]
