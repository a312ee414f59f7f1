"""Steps such as `25-7=18`: written, parsed, and computed exactly over the whole numbers from 0 to 999."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from isotherm.tasks.draws import pick

LARGEST = 999
NUMBER = "(?:0|[1-9][0-9]{0,5})"  # not \d, which matches the digits of every script
STEP = re.compile(f"({NUMBER})([-+*/])({NUMBER})=({NUMBER})")
SLIP = 0.05  # share of the steps of an attempt that are computed wrongly


class Step(NamedTuple):
    left: int
    op: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left}{self.op}{self.right}={self.result}"

    @property
    def sound(self) -> bool:
        """Whether the result is the right one."""
        return compute(self.left, self.op, self.right) == self.result


def compute(left: int, op: str, right: int, largest: int = LARGEST) -> int | None:
    """left op right, or None where that is not a whole number from 0 to `largest`."""
    if op == "/":
        return left // right if right and left % right == 0 else None
    result = left + right if op == "+" else left - right if op == "-" else left * right
    return result if 0 <= result <= largest else None


def written(steps: Iterable[Step]) -> str:
    """`25-7=18,18*2=36`"""
    return ",".join(map(str, steps))


def parse_steps(text: str) -> list[Step] | None:
    """The steps of `25-7=18,18*2=36`, or None where the text is anything else."""
    matches = [STEP.fullmatch(part) for part in text.split(",")]
    steps = [Step(int(m[1]), m[2], int(m[3]), int(m[4])) for m in matches if m]
    return steps if len(steps) == len(matches) else None


def parse_numbers(text: str, separator: str) -> list[int] | None:
    """The numbers of `3+25+18` (separator `+`), or None where the text is anything else."""
    parts = text.split(separator)
    return [int(part) for part in parts] if all(re.fullmatch(NUMBER, part) for part in parts) else None


def nearly(rng: Random, value: int, largest: int = LARGEST) -> int:
    """The value, or with probability `SLIP` a wrong one near it."""
    return slipped(rng, value, largest) if rng.random() < SLIP else value


def slipped(rng: Random, value: int, largest: int = LARGEST) -> int:
    """A wrong result of the kind people write: off by 1 or by 10."""
    return pick(rng, [v for v in (value - 10, value - 1, value + 1, value + 10) if 0 <= v <= largest])
