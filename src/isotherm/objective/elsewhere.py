"""The same method in verl and TRL: its settings there, and what differs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Elsewhere:
    verl: str
    trl: str
    differences: tuple[str, ...]


ELSEWHERE: dict[str, Elsewhere] = {}
