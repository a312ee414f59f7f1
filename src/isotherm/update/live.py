"""Which responses have a part in the loss: the others need no backward pass, nor a forward pass for its sake."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from isotherm.objective.factors import factors_of
from isotherm.objective.method import Decision, Method
from isotherm.records import Rollout, Tokens
from isotherm.update.scoring import prompts_of


def live_tokens(method: Method, decision: Decision) -> Tensor:
    """False where every term of the loss has the factor 0: N w A of the surrogate, N c of each penalty.

    A surrogate that does not declare that it reads the advantage is taken to have a slope where A = 0.
    """
    live = decision.weight != 0
    if "advantage" in factors_of(method.surrogate):
        live &= decision.advantage != 0
    for coefficient in decision.penalties:
        live |= coefficient != 0
    return live & (decision.normalizer != 0)


def live_responses(method: Method, decision: Decision, length: np.ndarray) -> np.ndarray:
    """[R] true where any token is live."""
    row = np.repeat(np.arange(len(length)), length)
    count = np.bincount(row, weights=live_tokens(method, decision).numpy(), minlength=len(length))
    return count > 0


def cheapest(rollout: Rollout, live: np.ndarray) -> np.ndarray:
    """The live rows, or all rows of their groups where the pass is shorter with them than with unequal groups."""
    whole = np.isin(rollout.group, rollout.group[live])
    return min((live, whole), key=lambda rows: tokens_run(rollout, rows))


def tokens_run(rollout: Rollout, rows: np.ndarray) -> int:
    """Tokens of a forward pass over some rows, prompts included."""
    return sum(len(rollout.prompts[g]) for g in prompts_of(rollout.group[rows])) + int(rollout.length[rows].sum())


def put(tokens: Tokens, where: Tensor, part: Tokens) -> Tokens:
    """The tokens with those of `where` in place of their own."""
    if bool(where.all()):
        return part
    return tokens.map(lambda whole, some: whole.to(some.dtype).masked_scatter(where, some), part)
