"""Chained arithmetic: the operations one after another, from left to right, with every intermediate result."""

from __future__ import annotations

from random import Random

from isotherm.records import Verdict
from isotherm.tasks.arithmetic import compute, parse_numbers, slipped
from isotherm.tasks.draws import between, pick
from isotherm.tasks.family import Data, Family, bare, verdict

LARGEST = 199

RULES = (
    "Apply the operations one after another from left to right and write the result after each, separated by commas. "
    "`17 +25 *2 -8:` is answered by `42,84,76`."
)


def generate(rng: Random, level: int) -> Data:
    """A start from 1 to 50 and `level` operations that keep the value from 0 to 199."""
    value = start = between(rng, 1, 50)
    moves: list[list[str | int]] = []
    while len(moves) < level:
        op = pick(rng, "+-*")
        operand = between(rng, 2, 5) if op == "*" else between(rng, 1, 50)
        result = compute(value, op, operand, LARGEST)
        if result is not None:
            value = result
            moves.append([op, operand])
    return {"start": start, "moves": moves}


def results(data: Data) -> list[int]:
    """The value after each operation."""
    return after(data["start"], data["moves"])


def after(value: int, moves: list[list]) -> list[int]:
    """The values after each of the moves, whatever their size and sign."""
    values = []
    for op, operand in moves:
        value = value + operand if op == "+" else value - operand if op == "-" else value * operand
        values.append(value)
    return values


def solve(data: Data, rng: Random) -> str:
    return ",".join(map(str, results(data)))


def attempt(data: Data, rng: Random) -> str:
    """One result is off, and the later ones follow from it."""
    right = results(data)
    while True:
        at = between(rng, 0, len(right) - 1)
        wrong = slipped(rng, right[at])
        values = [*right[:at], wrong, *after(wrong, data["moves"][at + 1 :])]
        if min(values) >= 0:
            return ",".join(map(str, values))


def check(data: Data, response: str) -> Verdict:
    values = parse_numbers(bare(response), ",")
    return Verdict.UNPARSED if values is None else verdict(values == results(data))


def prompt(data: Data) -> str:
    return " ".join([str(data["start"]), *(f"{op}{operand}" for op, operand in data["moves"])]) + ":"


CHAIN = Family(
    name="chain",
    rules=RULES,
    levels=(1, 2, 3, 4),
    trained=True,
    generate=generate,
    prompt=prompt,
    key=prompt,  # the order of the operations is part of the problem
    check=check,
    solve=solve,
    attempt=attempt,
)
