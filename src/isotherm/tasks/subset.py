"""Subset sum: choose some of the numbers that add up to the target."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random

from isotherm.records import Verdict
from isotherm.tasks.arithmetic import parse_numbers
from isotherm.tasks.draws import between, pick, shuffled
from isotherm.tasks.family import Data, Family, bare, verdict

RULES = (
    "Choose some of the given numbers that add up to the target, each at most as often as it is given, in any order. "
    "`sum 46 from 3 7 25 14 18:` is answered by `3+25+18`."
)


def generate(rng: Random, level: int) -> Data:
    """level + 3 numbers from 1 to 30, and the sum of at least two of them but not of all."""
    numbers = [between(rng, 1, 30) for _ in range(level + 3)]
    size = between(rng, 2, len(numbers) - 1)
    return {"target": sum(shuffled(rng, numbers)[:size]), "numbers": numbers}


def choices(data: Data) -> list[tuple[int, ...]]:
    """Every choice of the numbers that adds up to the target."""
    numbers, target = data["numbers"], data["target"]
    sizes = range(1, len(numbers) + 1)
    return [chosen for size in sizes for chosen in combinations(numbers, size) if sum(chosen) == target]


def solve(data: Data, rng: Random) -> str:
    return "+".join(map(str, shuffled(rng, pick(rng, choices(data)))))


def attempt(data: Data, rng: Random) -> str:
    """Numbers at random until their sum reaches the target or goes beyond it."""
    order = shuffled(rng, data["numbers"])
    size = next(size for size in range(1, len(order) + 1) if sum(order[:size]) >= data["target"])
    return "+".join(map(str, order[:size]))


def check(data: Data, response: str) -> Verdict:
    chosen = parse_numbers(bare(response), "+")
    if chosen is None:
        return Verdict.UNPARSED
    return verdict(sum(chosen) == data["target"] and Counter(chosen) <= Counter(data["numbers"]))


def normal(data: Data, response: str) -> str:
    """The chosen numbers in their order: a sum has no other."""
    return "+".join(map(str, sorted(parse_numbers(bare(response), "+") or [])))


SUBSET = Family(
    name="subset",
    rules=RULES,
    levels=(1, 2, 3, 4),
    trained=True,
    generate=generate,
    prompt=lambda data: f"sum {data['target']} from {' '.join(map(str, data['numbers']))}:",
    key=lambda data: f"{data['target']} from {sorted(data['numbers'])}",
    check=check,
    solve=solve,
    attempt=attempt,
    normal=normal,
)
