"""Random numbers by counter: each belongs to a (seed, step, problem, sample, position), never to an order in memory."""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as int64


def shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """The splitmix64 finaliser (Steele, Lea, Flood 2014), in wrapping int64 arithmetic."""
    x = (x ^ shift(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ shift(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ shift(x, 31)


def keys(*parts: Tensor | int) -> Tensor:
    """One int64 key for each combination; the order of the parts matters."""
    state = torch.zeros((), dtype=torch.int64)
    for part in parts:
        state = mix(state + GOLDEN + torch.as_tensor(part, dtype=torch.int64))
    return state


def uniform(key: Tensor, salt: int = 0) -> Tensor:
    """float64 in [0, 1), one for each key; another salt gives an independent draw.

    >>> float(uniform(keys(0, 1, 2))) == float(uniform(keys(0, 1, 2)))
    True
    """
    return shift(mix(key ^ (salt << 40)), 11).to(torch.float64) * 2.0**-53
