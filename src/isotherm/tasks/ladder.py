"""Ladder: climb from one number to another with the given moves, in a limited number of them."""

from __future__ import annotations

import re
from random import Random

from isotherm.records import Verdict
from isotherm.tasks.arithmetic import NUMBER, compute, nearly
from isotherm.tasks.draws import between, pick, shuffled
from isotherm.tasks.family import Data, Family, bare, verdict

LARGEST = 199
MOVE = re.compile(f"([-+*]{NUMBER})=({NUMBER})")

RULES = (
    "Go from the first number to the second with the given moves, each as often as you like but no more moves in all "
    "than stated, and write each with its result; every result is a whole number from 0 to 199. "
    "`go 3 to 26 in 5 by +5 *2 -1:` is answered by `+5=8,*2=16,+5=21,+5=26`."
)


def generate(rng: Random, level: int) -> Data:
    """A start, three moves, and a target at a distance of level + 1 moves, one fewer than the limit."""
    while True:
        start = between(rng, 1, 20)
        moves = shuffled(rng, [f"+{between(rng, 1, 9)}", f"-{between(rng, 1, 9)}", f"*{between(rng, 2, 4)}"])
        targets = at_distance(start, moves, level + 1)
        if moves_differ(moves) and targets:
            return {"start": start, "target": pick(rng, targets), "moves": moves, "limit": level + 2}


def moves_differ(moves: list[str]) -> bool:
    """Whether no move undoes another: +5 and -5 would."""
    return len({move[1:] for move in moves if move[0] in "+-"}) == 2


def after(value: int, move: str) -> int | None:
    """The value after the move, or None where it leaves 0 to 199."""
    return compute(value, move[0], int(move[1:]), LARGEST)


def onward(data: Data, value: int) -> list[tuple[str, int]]:
    """The legal moves, each with its result."""
    results = [(move, after(value, move)) for move in data["moves"]]
    return [(move, result) for move, result in results if result is not None]


def before(value: int, move: str) -> int | None:
    """The value from which the move leads here, or None where there is none."""
    return compute(value, {"+": "-", "-": "+", "*": "/"}[move[0]], int(move[1:]), LARGEST)


def at_distance(start: int, moves: list[str], distance: int) -> list[int]:
    """The numbers that take exactly so many moves at least (breadth-first search)."""
    seen, front = {start}, {start}
    for _ in range(distance):
        reached = {after(value, move) for value in front for move in moves}
        front = {value for value in reached if value is not None} - seen
        seen |= front
    return sorted(front)


def within(data: Data) -> list[set[int | None]]:
    """For k = 0, 1, .. limit: the numbers from which at most k moves reach the target."""
    near: list[set[int | None]] = [{data["target"]}]
    for _ in range(data["limit"]):
        near.append(near[-1] | {before(v, move) for v in near[-1] if v is not None for move in data["moves"]})
    return [numbers - {None} for numbers in near]


def solve(data: Data, rng: Random) -> str:
    """Random moves that keep the target within reach, with a budget between the shortest way and the limit."""
    near, value, steps = within(data), int(data["start"]), []
    shortest = next(k for k, numbers in enumerate(near) if value in numbers)
    for left in reversed(range(between(rng, shortest, data["limit"]))):
        if value == data["target"]:
            break
        move, value = pick(rng, [step for step in onward(data, value) if step[1] in near[left]])
        steps.append(f"{move}={value}")
    return ",".join(steps)


def attempt(data: Data, rng: Random) -> str:
    """Random moves until the target or the limit."""
    value, steps = data["start"], []
    while value != data["target"] and len(steps) < data["limit"]:
        move, result = pick(rng, onward(data, value))
        value = nearly(rng, result, LARGEST)
        steps.append(f"{move}={value}")
    return ",".join(steps)


def check(data: Data, response: str) -> Verdict:
    matches = [MOVE.fullmatch(part) for part in bare(response).split(",")]
    steps = [(m[1], int(m[2])) for m in matches if m]
    if len(steps) < len(matches):
        return Verdict.UNPARSED
    value = data["start"]
    for move, result in steps:
        if move not in data["moves"] or after(value, move) != result:
            return Verdict.WRONG
        value = result
    return verdict(value == data["target"] and len(steps) <= data["limit"])


def prompt(data: Data) -> str:
    return f"go {data['start']} to {data['target']} in {data['limit']} by {' '.join(data['moves'])}:"


LADDER = Family(
    name="ladder",
    rules=RULES,
    levels=(1, 2, 3, 4),
    trained=False,
    generate=generate,
    prompt=prompt,
    key=lambda data: prompt({**data, "moves": sorted(data["moves"])}),
    check=check,
    solve=solve,
    attempt=attempt,
)
