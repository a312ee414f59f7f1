"""Random draws built on `Random.random()` alone, the one method whose sequence Python guarantees for ever."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def pick(rng: Random, items: Sequence[T]) -> T:
    """One of the items."""
    return items[between(rng, 0, len(items) - 1)]


def shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    """The items in random order (Fisher-Yates)."""
    order = list(items)
    for i in range(len(order) - 1, 0, -1):
        j = between(rng, 0, i)
        order[i], order[j] = order[j], order[i]
    return order
