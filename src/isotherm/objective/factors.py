"""The four factors on which the entropy change of a token depends (arXiv 2510.10150), declared by every part."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from isotherm.errors import UserError

Part = Callable[..., Tensor]
FACTORS = ("clip", "probability", "advantage", "entropy")


def reads(*factors: str) -> Callable[[Part], Part]:
    """Declares which factors a part depends on; a contract test holds the declaration."""
    if unknown := [factor for factor in factors if factor not in FACTORS]:
        raise UserError(f"@reads takes some of {', '.join(FACTORS)}, or nothing between brackets, not {unknown[0]!r}.")

    def mark(part: Part) -> Part:
        part.factors = frozenset(factors)  # pyright: ignore[reportFunctionMemberAccess]
        return part

    return mark


def bare(part: Callable[..., Any]) -> Any:
    """The function under `functools.partial`."""
    return part.func if isinstance(part, functools.partial) else part


def factors_of(part: Part) -> frozenset[str]:
    return getattr(bare(part), "factors", frozenset())
