"""A value that is given for a setting, as a number, a text or a list of them: checked, or refused in a sentence."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from isotherm.errors import UserError

Meta = Mapping[str, Any]  # of a field of Config: its choices, and what its numbers lie between
LARGEST = 2**31 - 1  # of every whole number
HUGE = 1e300  # neither infinite nor beyond what a whole number can be compared and printed with


def coerced(name: str, kind: Any, value: Any, meta: Meta) -> Any:
    """The value as the setting's type, or one sentence that says what it takes."""
    if typing.get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise UserError(f"{name} takes a list separated by commas, not {value!r}.")
        item = typing.get_args(kind)[0]
        found = [scalar(name, item, v.strip() if isinstance(v, str) else v, meta) for v in items if v != ""]
        if doubled := [v for v in found if found.count(v) > 1]:
            raise UserError(f"{name} names {doubled[0]} twice; once is enough.")
        return tuple(found)
    return scalar(name, kind, value, meta)


def scalar(name: str, kind: type, value: Any, meta: Meta) -> Any:
    value = number(name, kind, value) if kind in (int, float) else str(value) if isinstance(value, Path) else value
    if not isinstance(value, kind):
        raise UserError(f"{name} takes text, not {value!r}.")
    if kind is str and "\0" in value:
        raise UserError(f"{name} takes text without NUL characters, not {value!r}.")
    if meta["choices"] and value not in meta["choices"]:
        raise UserError(f"{name} cannot be {value!r}.{suggestion(str(value), meta['choices'])}")
    high = min(meta["high"], LARGEST) if kind is int else meta["high"]
    if kind in (int, float) and not meta["low"] <= value <= high:
        raise UserError(f"{name} is {value:.10g}, but must {interval(meta['low'], high)}.")
    return value


def interval(low: float, high: float) -> str:
    return f"be at least {low:g}" if high == math.inf else f"lie between {low:g} and {high:.10g}"


def number(name: str, kind: Callable[[Any], Any], value: Any) -> Any:
    """int or float from a number or its text; 3.0 is no int, nan and inf are no numbers here."""
    wanted = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, (Real, str)):
        raise UserError(f"{name} takes {wanted}, not {value!r}.")
    if kind is int and not isinstance(value, (Integral, str)):
        raise UserError(f"{name} takes a whole number, not {value!r}.")
    try:
        result = kind(value)
    except (ValueError, OverflowError):
        raise UserError(f"{name} takes {wanted}, not {value!r}.") from None
    if not abs(result) < HUGE:
        raise UserError(f"{name} takes a finite number{' of ordinary size' if kind is int else f', not {value}'}.")
    return result


def suggestion(word: str, known: Collection[str]) -> str:
    """' Did you mean X?' or the list of valid names."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else f" Valid are: {', '.join(known)}."
