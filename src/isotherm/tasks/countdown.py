"""Countdown, the numbers game: reach the target with all the given numbers."""

from __future__ import annotations

from itertools import combinations
from random import Random

from isotherm.records import Verdict
from isotherm.tasks.arithmetic import Step, compute, nearly, parse_steps, written
from isotherm.tasks.draws import between, pick, shuffled
from isotherm.tasks.expression import expression
from isotherm.tasks.family import Data, Family, bare, verdict

RULES = (
    "Combine the given numbers with + - * / until the target is left, and write every step; each given number and each "
    "result but the last is used exactly once, and every result is a whole number from 0 to 999. "
    "`make 54 from 3 7 25:` is answered by `25-7=18,3*18=54`."
)


def generate(rng: Random, level: int) -> Data:
    """level + 1 numbers from 1 to 20, and the target that combining them at random gave."""
    while True:
        numbers = [between(rng, 1, 20) for _ in range(level + 1)]
        target = play(numbers, rng)[-1].result
        if 1 <= target <= 99:
            return {"target": target, "numbers": numbers}


def play(numbers: list[int], rng: Random, slips: bool = False) -> list[Step]:
    """Legal steps chosen at random until one number is left."""
    steps: list[Step] = []
    while len(numbers) > 1:
        a, b, *rest = shuffled(rng, numbers)
        step = pick(rng, legal(a, b))
        steps.append(step._replace(result=nearly(rng, step.result)) if slips else step)
        numbers = [*rest, steps[-1].result]
    return steps


def legal(a: int, b: int) -> list[Step]:
    """The legal steps with two numbers, larger number first; never empty, for the difference is legal."""
    a, b = max(a, b), min(a, b)
    results = {op: compute(a, op, b) for op in "+-*/"}
    return [Step(a, op, b, result) for op, result in results.items() if result is not None]


def search(numbers: list[int], target: int, rng: Random, dead: set[tuple[int, ...]]) -> list[Step] | None:
    """Depth-first search in random order; `dead` collects the hands from which the target is out of reach."""
    if len(numbers) == 1:
        return [] if numbers[0] == target else None
    hand = tuple(sorted(numbers))
    if hand in dead:
        return None
    for i, j in shuffled(rng, list(combinations(range(len(numbers)), 2))):
        rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
        for step in shuffled(rng, legal(numbers[i], numbers[j])):
            later = search([*rest, step.result], target, rng, dead)
            if later is not None:
                return [step, *later]
    dead.add(hand)
    return None


def solve(data: Data, rng: Random) -> str:
    steps = search(data["numbers"], data["target"], rng, set())
    if steps is None:
        raise ValueError(f"no way from {data['numbers']} to {data['target']}")
    return written(turned(rng, step) for step in steps)


def attempt(data: Data, rng: Random) -> str:
    return written(turned(rng, step) for step in play(data["numbers"], rng, slips=True))


def turned(rng: Random, step: Step) -> Step:
    """The step, with its operands exchanged half of the time where their order does not matter."""
    turn = step.op in "+*" and rng.random() < 0.5
    return step._replace(left=step.right, right=step.left) if turn else step


def check(data: Data, response: str) -> Verdict:
    steps = parse_steps(bare(response))
    if steps is None:
        return Verdict.UNPARSED
    hand = list(data["numbers"])
    for step in steps:
        for operand in (step.left, step.right):
            if operand not in hand:
                return Verdict.WRONG
            hand.remove(operand)
        hand.append(step.result)
    return verdict(hand == [data["target"]] and all(step.sound for step in steps))


def normal(data: Data, response: str) -> str:
    """A right answer as one expression, a wrong one as its steps, both without regard to order where it is free."""
    steps = parse_steps(bare(response)) or []
    if check(data, response) is Verdict.CORRECT:
        return expression(data["numbers"], steps)
    return written(sorted(s._replace(left=min(s[::2]), right=max(s[::2])) if s.op in "+*" else s for s in steps))


COUNTDOWN = Family(
    name="countdown",
    rules=RULES,
    levels=(1, 2, 3, 4),
    trained=True,
    generate=generate,
    prompt=lambda data: f"make {data['target']} from {' '.join(map(str, data['numbers']))}:",
    key=lambda data: f"{data['target']} from {sorted(data['numbers'])}",
    check=check,
    solve=solve,
    attempt=attempt,
    normal=normal,
)
