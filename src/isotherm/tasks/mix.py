"""What a run trains on, as text: `countdown:2,chain,subset:3`."""

from __future__ import annotations

from isotherm.errors import UserError
from isotherm.tasks.registry import family_named, level_of

LEVEL = 2  # where the text names none


def parse_mix(text: str) -> list[tuple[str, int]]:
    """The (family, level) pairs of `countdown:2,chain,subset:3`, each named once."""
    pairs = [parse_part(part) for part in text.split(",")]
    if doubled := [f"{family}:{level}" for family, level in pairs if pairs.count((family, level)) > 1]:
        raise UserError(f"{text!r} names {doubled[0]} twice; once is enough.")
    return pairs


def parse_part(part: str) -> tuple[str, int]:
    name, colon, level = part.strip().partition(":")
    family = family_named(name)
    return name, level_of(family, level) if colon else LEVEL
