"""The table of methods as text, from the rows themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from isotherm.objective.compose import method, row_named
from isotherm.objective.factors import FACTORS, bare
from isotherm.objective.published import ROWS


def table() -> str:
    """Name, paper, factors and what it does, a line each."""
    lines = [f"{'method':<15} {'paper':<17} {'factors':<38} what it does"]
    for row in ROWS:
        factors = method(row.name).factors
        listed = ", ".join(f for f in FACTORS if f in factors)
        lines.append(f"{row.name:<15} {row.paper:<17} {listed:<38} {row.summary}")
    return "\n".join([*lines, "", "Combine them with +, e.g. --method 'clip_higher + par(target=0.3)'."])


def explain(name: str) -> str:
    """One method: paper, equation, published setting, parameters."""
    row = row_named(name)
    lines = [f"{row.name}: {row.summary}", f"{row.paper}, {row.equation}; published for {row.setting}.", "parameters:"]
    lines += [f"  {p.name} = {p.default!r}" for p in row.parameters.values()] or ["  none"]
    if row.knob:
        lines.append(f"knob: {row.knob}")
    if row.needs_updates:
        lines.append("It changes nothing when each rollout is used for a single update (updates = 1).")
    equations = [(inspect.getdoc(part) or "").partition(">>>")[0] for part in parts(name)]
    return "\n".join([*lines, "equations:", *(f"  {' '.join(text.split())}" for text in equations)])


def parts(name: str) -> list[Callable[..., Any]]:
    """The functions that a method is made of."""
    built = method(name)
    slots = [built.advantage, *built.on_batch, built.surrogate, *(p.cost for p in built.penalties)]
    others = [*built.functionals.values(), *(control.update for control in built.controls)]
    return list(dict.fromkeys(bare(part) for part in [*slots, *others]))
