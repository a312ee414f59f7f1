"""Rows that verl and TRL have as well: their settings, and what differs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Elsewhere:
    """The settings that give a row, "" where a package has nothing of the kind, and what then still differs."""

    verl: str = ""
    trl: str = ""
    differences: tuple[str, ...] = ()


ELSEWHERE: dict[str, Elsewhere] = {}
