"""Methods of the user's own, added to the table for as long as the process lives."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from isotherm.errors import UserError
from isotherm.objective.compose import SEVERAL, SINGLE, build, parse
from isotherm.objective.factors import Part, bare
from isotherm.objective.method import Control, Penalty, Slots
from isotherm.objective.page import own_parts, parts_of
from isotherm.objective.published import METHODS, ROWS, Row
from isotherm.own import packaged

FILLS = (*SINGLE, *SEVERAL, "default_surrogate")
KINDS = (float, int, str)


def add_method(name: str, build: Callable[..., Slots], *, paper: str = "unpublished", equation: str = "") -> None:
    """Adds a row to the table of methods: from here on `name` stands in expressions like any other method's.

    `build` is as in `objective/rows/`: its parameters are the method's, and it returns the slots that it fills. A
    name of the package's own is refused; one that was added before is replaced.
    """
    row = Row(name, build, paper, equation, setting="")
    check_name(name)
    check_parameters(row)
    check_slots(row)
    METHODS[name] = row


def check_name(name: str) -> None:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise UserError(f"{name!r} cannot be a method's name; it takes letters, digits and _, like kl_cov.")
    if any(row.name == name for row in ROWS):
        raise UserError(f"The table has a method named {name} already; choose another name for yours.")


def check_parameters(row: Row) -> None:
    try:
        parameters = row.parameters.values()
    except (TypeError, ValueError):
        raise UserError(f"What builds the method {row.name} must be a function, not {row.build!r}.") from None
    for p in parameters:
        if type(p.default) not in KINDS or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise UserError(f"{row.name}'s parameter {p.name} needs a default: a float, an int or a text.")


def check_slots(row: Row) -> None:
    """The slots are known ones, and their parts say what they read."""
    filled = build(row, {})
    if not isinstance(filled, dict) or not filled or any(slot not in FILLS for slot in filled):
        given = ", ".join(map(str, filled)) if isinstance(filled, dict) and filled else repr(filled)
        raise UserError(f"The method {row.name} fills {given}; the slots are: {', '.join(FILLS)}.")
    for slot, value in filled.items():
        check_slot(row, slot, value)
    for part in parts_of(filled):
        check_part(row, part, filled)


def check_slot(row: Row, slot: str, value: object) -> None:
    items = value if isinstance(value, tuple) else None
    if (items is not None) is not (slot in SEVERAL):
        kind = "a tuple of parts" if slot in SEVERAL else "one part, not a tuple"
        raise UserError(f"The slot {slot} of the method {row.name} takes {kind}.")
    kind = {"penalties": Penalty, "controls": Control}.get(slot)
    if kind and not all(isinstance(item, kind) for item in items or ()):
        raise UserError(f"The slot {slot} of the method {row.name} takes a tuple of {kind.__name__}.")
    for item in items or ():
        if isinstance(item, Control) and [bool(word) for word in str(item.knob).split(".")] != [True, True]:
            raise UserError(f"A control of the method {row.name} moves {item.knob!r}, which is no part.parameter.")


def check_part(row: Row, part: Part, filled: Slots) -> None:
    """What looks at tokens declares its factors: without them it would be shown a policy that has not moved yet."""
    if not inspect.isfunction(part):
        raise UserError(f"The method {row.name} has {part!r} in a slot where a function belongs.")
    free = [filled.get("advantage"), *(c.update for c in filled.get("controls", ()))]
    if part not in map(bare, free) and not hasattr(part, "factors") and not packaged(part):
        raise UserError(
            f"{part.__name__} of the method {row.name} does not say what it reads; write @isotherm.reads(...) above it "
            "with those of clip, probability, advantage and entropy that it depends on."
        )


def sources(expression: str) -> str:
    """The Python text of the added methods in an expression; empty where all are the package's own."""
    mine = [row for row, _ in parse(expression) if row not in ROWS]
    functions = dict.fromkeys(f for row in mine for f in (row.build, *own_parts(row)))
    return "\n\n".join(text(f) for f in functions if not packaged(f))


def text(function: Callable[..., object]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return f"# The text of {function.__name__} could not be found.\n"
