"""What a part reads of the whole next-token distribution: functionals log pi [rows, vocabulary] -> [rows].

A part names one by a keyword that holds it; scoring computes those of the method, and `Tokens.extra` carries them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from isotherm.objective.factors import Part, bare, reads
from isotherm.records import Tokens
from isotherm.tokens.score import Functional


def name_of(functional: Functional) -> str:
    """Function and parameters, so that two settings of one functional are two columns."""
    keywords = getattr(functional, "keywords", {})
    return f"{bare(functional).__name__}({', '.join(f'{k}={v!r}' for k, v in keywords.items())})"


def functionals_of(part: Part) -> dict[str, Functional]:
    """Those that a part is bound to."""
    found: list[Any] = [bound for bound in getattr(part, "keywords", {}).values() if callable(bound)]
    return {name_of(f): f for f in found}


def value(tokens: Tokens, functional: Functional) -> Tensor:
    """F(pi) per token, as scoring found it."""
    name = name_of(functional)
    if name not in tokens.extra:
        raise ValueError(f"{name} was not computed with the scores of these tokens")
    return tokens.extra[name]


@reads("entropy")
def of_distribution(tokens: Tokens, *, functional: Functional) -> Tensor:
    """F(pi), with its gradient through the whole distribution; of the four factors such a cost counts as entropy."""
    return value(tokens, functional)


@reads("entropy")
def minus(tokens: Tokens, *, functional: Functional) -> Tensor:
    """-F(pi), of a functional that is to be raised."""
    return -value(tokens, functional)
