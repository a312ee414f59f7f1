"""One expression -> one method: 'clip_higher + par(schedule=guided, target=0.2) + kl_cov(k=0.002)'."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from functools import partial
from typing import Any

from isotherm.errors import OwnError, UserError, said, shown
from isotherm.objective.factors import Part, bare
from isotherm.objective.method import Method, Slots, Taken
from isotherm.objective.published import METHODS, Row
from isotherm.objective.surrogates import ppo_clip, ratio
from isotherm.own import packaged

SINGLE = {
    "advantage": "group advantages",
    "surrogate": "surrogates",
    "normalizer": "normalizers",
    "deal": "random controls",
}
# Where a part keeps the bounds of the clip: those of clip_cov, or those of every part that predicts what a token does.
BOUNDS = ({"clip_low": "low", "clip_high": "high"}, {"low": "low", "high": "high", "dual": "dual"})
SEVERAL = ("shape", "weights", "penalties", "controls")


def method(expression: str) -> Method:
    """The method that an expression names; slots that no term fills are those of GRPO."""
    parsed = parse(expression)
    terms = clipped_alike([(row, arguments, build(row, arguments)) for row, arguments in parsed])
    slots: Slots = dict.fromkeys(SEVERAL, ())
    owner: dict[str, str] = {}
    for row, filled in terms:
        for name, value in filled.items():
            if name in SEVERAL:
                slots[name] += value
            elif name == "default_surrogate":
                continue
            elif name in owner:
                raise UserError(f"{owner[name]} and {row.name} are both {SINGLE[name]}; a method has one of them.")
            else:
                slots[name], owner[name] = value, row.name
    if "surrogate" not in slots:
        slots |= default_surrogate(terms)
    refuse_two_on_one_knob(terms)
    return Method(name=expression.strip(), **slots)


def clipped_alike(terms: list[tuple[Row, dict[str, Any], Slots]]) -> list[tuple[Row, Slots]]:
    """Parts that look at which tokens are clipped take the bounds of the clip beside them, where they are not given.

    What they take moves with the clip. A row that brings the clip as its default gives one number for both.
    """
    clip: Any = next((f[slot] for slot in ("surrogate", "default_surrogate") for *_, f in terms if slot in f), ratio)
    if bare(clip) is not ppo_clip:
        return [(row, filled) for row, _, filled in terms]
    found = []
    for row, arguments, filled in terms:
        given = {} if filled.get("default_surrogate") is clip else arguments
        weights = tuple(with_bounds(part, clip.keywords, given) for part in filled.get("weights", ()))
        found.append((row, filled | {"weights": weights}))
    return found


def with_bounds(part: Part, bounds: dict[str, float], given: dict[str, Any]) -> Part:
    own = getattr(part, "keywords", {})
    names = next((names for names in BOUNDS if names.keys() <= own.keys()), {})
    names = {mine: its for mine, its in names.items() if mine not in given and its in bounds}
    new = {mine: Taken(bounds[its], f"ppo_clip.{its}") for mine, its in names.items()}
    return partial(part, **new) if new else part


def refuse_two_on_one_knob(terms: list[tuple[Row, Slots]]) -> None:
    """Two controls of one knob undo each other, and a knob turns every part of its name."""
    owner: dict[str, str] = {}
    for row, filled in terms:
        for control in filled.get("controls", ()):
            if control.knob in owner:
                both = f"{owner[control.knob]} and {row.name}"
                raise UserError(f"{both} both move the knob {control.knob}; a knob has one control.")
            owner[control.knob] = row.name


def inert(expression: str, updates: int) -> list[str]:
    """A sentence for each term that changes nothing in this setting."""
    if updates > 1:
        return []
    return [
        f"{row.name} changes nothing with one update per rollout, because the policy that is updated is the one that "
        "sampled; use --updates 2 or more."
        for row, _ in parse(expression)
        if row.needs_updates
    ]


def default_surrogate(terms: list[tuple[Row, Slots]]) -> Slots:
    """The surrogate that a covariance method was published with, where no other term brings one."""
    found = {row.name: filled["default_surrogate"] for row, filled in terms if "default_surrogate" in filled}
    if len(found) > 1:
        both = " and ".join(found)
        raise UserError(f"{both} were published with different surrogates; add the one you want, e.g. ppo_clip.")
    return {"surrogate": next(iter(found.values()))} if found else {}


def parse(expression: str) -> list[tuple[Row, dict[str, Any]]]:
    """[(row, arguments)] by Python's own grammar; nothing is evaluated but literals."""
    expression = expression.strip()
    try:
        node: ast.expr = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(
            f"The method {shown(expression)} cannot be read; write terms such as 'clip_higher + kl_cov(k=0.002)'."
        ) from None
    terms: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        terms.append(node.right)
        node = node.left
    found = [parse_term(term, expression) for term in reversed([*terms, node])]
    names = Counter(row.name for row, _ in found)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(f"In the method {shown(expression)}, {twice[0]} stands twice; give it once.")
    return found


def parse_term(node: ast.expr, expression: str) -> tuple[Row, dict[str, Any]]:
    call = node if isinstance(node, ast.Call) else None
    name = call.func if call else node
    if not isinstance(name, ast.Name):
        raise UserError(f"In the method {shown(expression)}, {source(node, expression)} is not a method's name.")
    if call and call.args:
        raise UserError(f"In the method {shown(expression)}, give {name.id}'s parameters by name.")
    row, found = row_named(name.id), {}
    for keyword in call.keywords if call else []:
        key = argument(row, keyword.arg)
        if key in found:
            raise UserError(f"In the method {shown(expression)}, {row.name} is given {key} twice.")
        found[key] = literal(row, key, keyword.value, expression)
    return row, found


def row_named(name: str) -> Row:
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f" Did you mean {close[0]}?" if close else f" Valid are: {', '.join(METHODS)}."
        own = " A method of your own is added first, by isotherm.add_method."
        raise UserError(f"There is no method named {shown(name)}.{hint}{own}")
    return METHODS[name]


def argument(row: Row, name: str | None) -> str:
    if name not in row.parameters:
        valid = ", ".join(row.parameters) or "none"
        raise UserError(f"{row.name} has no parameter {shown(str(name))}; its parameters are: {valid}.")
    return name


def source(node: ast.expr, expression: str) -> str:
    """The text of a node; `ast.unparse` recurses, and would overflow on a thousand minus signs."""
    return shown(ast.get_source_segment(expression, node) or "")


def literal(row: Row, name: str, node: ast.expr, expression: str) -> Any:
    """A number or a bare word, of the kind that the parameter's default has."""
    default = row.parameters[name].default
    try:
        value = node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        value = None
    if type(value) is not type(default) or value in (float("inf"), float("-inf")) or value != value:
        raise UserError(f"{row.name}'s {name} takes a value like {default!r}, not {source(node, expression)}.")
    return value


def build(row: Row, arguments: dict[str, Any]) -> Slots:
    try:
        return row.build(**arguments)
    except ValueError as error:
        raise UserError(f"In {row.name}, {error}.") from error
    except (Exception, SystemExit) as error:
        if packaged(row.build) or isinstance(error, UserError):
            raise
        raise OwnError(f"The method {row.name} cannot be built: {said(error)}.") from error
