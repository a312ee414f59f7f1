"""The line that an entropy is held on: 0.3, 'linear(start, 0.2)', 'cosine(0.5, 0.2)', 'points(0.5, 0.3, 0.3)'."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from isotherm.errors import OwnError, UserError, said, shown

START = "start"  # the entropy that was measured in the first step


@dataclass(frozen=True)
class Line:
    """H*(step) from the first step to the last; None among the numbers stands for `start`."""

    form: str
    numbers: tuple[float | None, ...]

    def at(self, step: int, steps: int, start: float) -> float:
        """The line's value in step 1 .. steps; it goes on level behind the last one.

        >>> line("linear(start, 0.2)").at(51, 101, start=0.4)
        0.30000000000000004
        """
        values = [start if x is None else x for x in self.numbers]
        done = min(1.0, (step - 1) / max(1, steps - 1))
        if self.form == "cosine":
            first, last = values
            return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))
        place = done * (len(values) - 1)
        left = min(int(place), max(0, len(values) - 2))
        right = min(left + 1, len(values) - 1)
        return values[left] + (values[right] - values[left]) * (place - left)


def line(text: str) -> Line:
    """The line that a text names; nothing is evaluated but numbers."""
    hint = "write a number, linear(a, b), cosine(a, b) or points(a, b, ...), in nats; start is the first entropy"
    text = text.strip()
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(f"The line {shown(text)} cannot be read; {hint}.") from None
    if not isinstance(node, ast.Call):
        return Line("constant", (number(node, text, hint),))
    form = node.func.id if isinstance(node.func, ast.Name) and not node.keywords else ""
    count = {"linear": (2,), "cosine": (2,), "points": range(1, len(node.args) + 1)}.get(form, ())
    if len(node.args) not in count:
        raise UserError(f"The line {shown(text)} is not one; {hint}.")
    return Line(form, tuple(number(x, text, hint) for x in node.args))


def number(node: ast.expr, text: str, hint: str) -> float | None:
    if isinstance(node, ast.Name) and node.id == START:
        return None
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{shown(ast.get_source_segment(text, node) or text)} is no entropy above 0; {hint}.")
    return float(value)


class Sampled(str):
    """The text of a line that a function of the step gives; with other steps the function is sampled again."""

    function: Any = None


def as_text(value: Any, steps: int) -> Any:
    """The text of a line that is given as a number, or as a function of the step, of which a point a step is taken."""
    function: Any = value.function if isinstance(value, Sampled) else value
    if callable(function):
        text = Sampled(f"points({', '.join(repr(x) for x in sampled(function, steps))})")
        text.function = function
        return text
    return repr(float(value)) if isinstance(value, Real) and not isinstance(value, bool) else value


def sampled(function: Callable[..., Any], steps: int) -> list[float]:
    try:
        return [float(function(step)) for step in range(1, steps + 1)]
    except Exception as error:  # the user's own code
        raise OwnError(f"The function given as hold_entropy fails: {said(error)}.") from error
