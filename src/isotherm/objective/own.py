"""What a part of the user's own gives is checked, so that its mistake has its name; the package's are called as is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from isotherm.errors import UserError
from isotherm.objective.factors import Part, bare
from isotherm.records import Tokens


def packaged(function: Callable[..., Any]) -> bool:
    return (function.__module__ or "").startswith("isotherm.")


def called(part: Part, tokens: Tokens, *more: Tensor) -> Tensor:
    """part(tokens, ...), one number per token."""
    function = bare(part)
    if packaged(function):
        return part(tokens, *more)
    try:
        values = part(tokens, *more)
    except UserError:
        raise
    except Exception as error:  # the user's own code
        said = " ".join(str(error).split())
        raise UserError(f"Your {function.__name__} fails in a step: {type(error).__name__}: {said}.") from error
    if not isinstance(values, Tensor) or values.shape != (len(tokens),):
        given = f"a tensor of shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"Your {function.__name__} must give one number per token, {len(tokens)} here, not {given}.")
    return values


def decided(part: Part, tokens: Tokens, *more: Tensor) -> Tensor:
    """The same of what is decided on the batch, where NaN for every token is a mistake and no failure of the step."""
    values = called(part, tokens, *more)
    if not packaged(bare(part)) and len(tokens) and values.isnan().all() and not tokens.logprob.isnan().any():
        raise UserError(f"Your {bare(part).__name__} gives NaN for every token.")
    return values
