"""Problems by number: a family mix without end, or a user's file in shuffled epochs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch

from isotherm.records import Problem
from isotherm.tasks.files import read_problems
from isotherm.tasks.mix import parse_mix
from isotherm.tasks.problems import problem
from isotherm.tokens.draws import keys


@dataclass(frozen=True)
class Source:
    """`problems(first, count)` are the same whenever they are asked for; the position is all there is to remember."""

    mix: tuple[tuple[str, int], ...]
    seed: int
    rows: list[Problem] = field(default_factory=list)

    def problems(self, first: int, count: int) -> list[Problem]:
        return [self.number(i) for i in range(first, first + count)]

    def number(self, i: int) -> Problem:
        if self.rows:
            return self.rows[order(self.seed, i // len(self.rows), len(self.rows))[i % len(self.rows)]]
        family, level = self.mix[i % len(self.mix)]
        return problem(family, level, self.seed, i // len(self.mix), "train")


@functools.lru_cache(maxsize=2)  # a step asks for a few problems of one epoch, or of two
def order(seed: int, epoch: int, count: int) -> list[int]:
    return keys(seed, epoch, torch.arange(count)).argsort().tolist()


def open_source(train: str, data: str, seed: int) -> Source:
    """The source that the settings `train` and `data` describe."""
    if data:
        return Source((), seed, read_problems(data))
    return Source(tuple(parse_mix(train)), seed)
