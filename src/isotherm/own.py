"""Functions of the user's own: what they raise or give becomes a sentence with their name; the package's pass as is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from isotherm.errors import OwnError, UserError, said, shown
from isotherm.files import json_bytes
from isotherm.records import Tokens

Function = Callable[..., Any]


def packaged(function: Function) -> bool:
    """Whether a function, maybe under `functools.partial`, is the package's."""
    return (getattr(function, "func", function).__module__ or "").startswith("isotherm.")


def title(function: Function) -> str:
    bare = getattr(function, "func", function)
    return f"Your {getattr(bare, '__name__', type(bare).__name__)}"


@contextmanager
def owned(function: Function) -> Iterator[None]:
    """What a function of the user's raises within becomes a sentence, and the exception is its cause."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if packaged(function):
            raise
        raise OwnError(f"{title(function)} fails: {said(error)}.") from error


def called(part: Function, tokens: Tokens, *more: Tensor) -> Tensor:
    """part(tokens, ...), one number per token."""
    if packaged(part):
        return part(tokens, *more)
    with owned(part):
        values = part(tokens, *more)
    return one_each(part, values, len(tokens), "token")


def decided(part: Function, tokens: Tokens, *more: Tensor) -> Tensor:
    """The same of what is decided on the batch, where NaN for every token is a mistake and no failure of the step."""
    values = called(part, tokens, *more)
    if not packaged(part) and len(tokens) and values.isnan().all() and not tokens.logprob.isnan().any():
        raise OwnError(f"{title(part)} gives NaN for every token.")
    return values


def of_states(functional: Function, logp: Tensor) -> Tensor:
    """functional(log pi), one number per row."""
    with owned(functional):
        values = functional(logp)
    return one_each(functional, values, len(logp), "row")


def one_each(function: Function, values: Any, count: int, of: str) -> Tensor:
    if not isinstance(values, Tensor) or values.shape != (count,):
        given = f"a tensor of shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise OwnError(f"{title(function)} must give one number per {of}, {count} here, not {given}.")
    return values


def moved(update: Function, state: dict[str, Any], measured: object) -> dict[str, Any]:
    """update(state, measured): what a control keeps, which goes into the checkpoint as JSON."""
    if packaged(update):
        return update(state, measured)
    with owned(update):
        found = update(state, measured)
    try:
        json_bytes(found)
        good = math.isfinite(found["value"])
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
        good = False
    if not good:
        raise OwnError(
            f'{title(update)} must give a dictionary of what JSON can hold, with a finite number as "value", not '
            f"{shown(' '.join(repr(found).split()))}."
        )
    return found


def measure(function: Function, tokens: Tokens) -> float:
    """function(tokens) as a number."""
    with owned(function):
        return float(function(tokens))
