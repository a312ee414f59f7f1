"""Fill in the signs: put + - or * between the numbers, in the given order, to reach the target."""

from __future__ import annotations

from itertools import product
from random import Random

from isotherm.records import Verdict
from isotherm.tasks.arithmetic import Step, compute, nearly, parse_steps, written
from isotherm.tasks.draws import between, pick
from isotherm.tasks.family import Data, Family, bare, verdict

SIGNS = "+-*"

RULES = (
    "Put + - or * in every gap and write the steps from left to right, each going on from the last result; the target "
    "is the last result, and every result is a whole number from 0 to 999. "
    "`fill 3 _ 5 _ 2 = 17:` is answered by `3*5=15,15+2=17`."
)


def generate(rng: Random, level: int) -> Data:
    """level + 1 numbers from 1 to 12, and the target from 0 to 99 that signs chosen at random gave."""
    while True:
        numbers = [between(rng, 1, 12) for _ in range(level + 1)]
        target = play(numbers, rng)[-1].result
        if target <= 99:
            return {"numbers": numbers, "target": target}


def play(numbers: list[int], rng: Random, slips: bool = False) -> list[Step]:
    """Legal signs chosen at random, from left to right."""
    value, steps = numbers[0], []
    for number in numbers[1:]:
        results = {sign: compute(value, sign, number) for sign in SIGNS}
        sign, result = pick(rng, [(sign, result) for sign, result in results.items() if result is not None])
        steps.append(Step(value, sign, number, nearly(rng, result) if slips else result))
        value = steps[-1].result
    return steps


def steps_with(numbers: list[int], signs: tuple[str, ...]) -> list[Step] | None:
    """The steps with these signs, or None where a result is not allowed."""
    value, steps = numbers[0], []
    for sign, number in zip(signs, numbers[1:], strict=True):
        result = compute(value, sign, number)
        if result is None:
            return None
        steps.append(Step(value, sign, number, result))
        value = result
    return steps


def solve(data: Data, rng: Random) -> str:
    numbers, target = data["numbers"], data["target"]
    found = [steps_with(numbers, signs) for signs in product(SIGNS, repeat=len(numbers) - 1)]
    return written(pick(rng, [steps for steps in found if steps and steps[-1].result == target]))


def attempt(data: Data, rng: Random) -> str:
    return written(play(data["numbers"], rng, slips=True))


def check(data: Data, response: str) -> Verdict:
    steps = parse_steps(bare(response))
    if steps is None or any(step.op not in SIGNS for step in steps):
        return Verdict.UNPARSED
    numbers = data["numbers"]
    lefts = [numbers[0], *(step.result for step in steps)]
    right = [step.right for step in steps] == numbers[1:] and [step.left for step in steps] == lefts[:-1]
    return verdict(right and lefts[-1] == data["target"] and all(step.sound for step in steps))


def prompt(data: Data) -> str:
    return f"fill {' _ '.join(map(str, data['numbers']))} = {data['target']}:"


FILL = Family(
    name="fill",
    rules=RULES,
    levels=(1, 2, 3, 4),
    trained=False,
    generate=generate,
    prompt=prompt,
    key=prompt,  # the order of the numbers is part of the problem
    check=check,
    solve=solve,
    attempt=attempt,
)
