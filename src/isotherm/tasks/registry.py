"""The table of families."""

from __future__ import annotations

import difflib

from isotherm.errors import UserError
from isotherm.tasks.chain import CHAIN
from isotherm.tasks.countdown import COUNTDOWN
from isotherm.tasks.family import Family
from isotherm.tasks.fill import FILL
from isotherm.tasks.ladder import LADDER
from isotherm.tasks.route import ROUTE
from isotherm.tasks.subset import SUBSET

FAMILIES: dict[str, Family] = {f.name: f for f in (COUNTDOWN, CHAIN, SUBSET, FILL, LADDER, ROUTE)}


def family_named(name: str) -> Family:
    """The family of that name."""
    if name in FAMILIES:
        return FAMILIES[name]
    near = difflib.get_close_matches(name.lower(), FAMILIES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UserError(f"There is no family of problems {name!r}: choose among {', '.join(FAMILIES)}{hint}")


def level_of(family: Family, level: str) -> int:
    """The level that the text names."""
    levels = {str(level): level for level in family.levels}
    if level in levels:
        return levels[level]
    near = difflib.get_close_matches(level, levels, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UserError(f"Family {family.name} has no level {level!r}: choose among {', '.join(levels)}{hint}")
