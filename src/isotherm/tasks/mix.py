"""What a run trains on, as text: `countdown:2,chain,subset:3`."""

from __future__ import annotations

from isotherm.tasks.registry import family_named, level_of

LEVEL = 2  # where the text names none


def parse_mix(text: str) -> list[tuple[str, int]]:
    """The (family, level) pairs of `countdown:2,chain,subset:3`; a pair named twice counts twice."""
    return [parse_part(part) for part in text.split(",")]


def parse_part(part: str) -> tuple[str, int]:
    name, colon, level = part.strip().partition(":")
    family = family_named(name)
    return name, level_of(family, level) if colon else LEVEL
