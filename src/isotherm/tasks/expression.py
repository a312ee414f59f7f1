"""Steps as one expression in normal form: `3*(25-7)` for `25-7=18,18*3=54`, whatever the order of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from isotherm.tasks.arithmetic import Step

OPPOSITE = {"+": "-", "-": "+", "*": "/", "/": "*"}


class Chain(NamedTuple):
    """Operands of + and - (level 0) or of * and / (level 1), each with its sign; a number is a chain of neither."""

    level: int | None
    parts: tuple[tuple[str, str], ...]  # (sign, text)

    def __str__(self) -> str:
        return "".join(sign + text for sign, text in sorted(self.parts)).removeprefix("+").removeprefix("*")


def expression(numbers: Sequence[int], steps: Sequence[Step]) -> str:
    """The expression that legal steps build; of two equal values, a given number is taken before a result."""
    hand = [(number, Chain(None, (("", str(number)),))) for number in numbers]
    for step in steps:
        left, right = take(hand, step.left), take(hand, step.right)
        hand.append((step.result, joined(left, step.op, right)))
    return str(hand[-1][1])


def take(hand: list[tuple[int, Chain]], value: int) -> Chain:
    """Removes the first entry of that value."""
    return hand.pop(next(i for i, (held, _) in enumerate(hand) if held == value))[1]


def joined(left: Chain, op: str, right: Chain) -> Chain:
    """left op right as one chain: a - (b - c) is a + c - b, and a / (b / c) is a * c / b."""
    level = int(op in "*/")
    first, same = "+*"[level], op in "+*"
    turned = tuple((sign if same else OPPOSITE[sign], text) for sign, text in operands(right, level, first))
    return Chain(level, operands(left, level, first) + turned)


def operands(chain: Chain, level: int, first: str) -> tuple[tuple[str, str], ...]:
    """Its parts where it is a chain of that level, else itself as one part, in brackets unless it is a number."""
    if chain.level == level:
        return chain.parts
    return ((first, str(chain) if chain.level is None else f"({chain})"),)
