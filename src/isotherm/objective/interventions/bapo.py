"""BAPO (arXiv 2510.18927): the clip's bounds move until tokens with A > 0 carry their share of the loss."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.objective.surrogates import log_ratio
from isotherm.records import Tokens


@reads("clip", "advantage")
def balanced_clip(
    tokens: Tokens,
    *,
    rho: float,
    low: float,
    low_most: float,
    high: float,
    high_most: float,
    low_step: float,
    high_step: float,
) -> Tensor:
    """0 where r > b+ with A > 0 or r < b- with A < 0, else 1; the first (b-, b+) whose share is rho (2510.18927).

    share = P / (P + N), P the sum of r A over A > 0 and r <= b+, N that of r |A| over A < 0 and r >= b-. First b- rises
    from low to low_most, then b+ from high to high_most, as in the authors' code; where none will do, the last stay.
    That code counts a clipped token at its bound, by which a higher b- would lower the share; here it has no gradient
    and does not count. With r A as the surrogate the gradient is that of the clip, and the value of the loss is not.
    """
    r, a = log_ratio(tokens).exp(), tokens.advantage
    pull = (r * a).double()
    for lower, upper in bounds(low, low_most, low_step, high, high_most, high_step):
        kept = ((a > 0) & (r <= upper)) | ((a < 0) & (r >= lower)) | (a == 0)
        counted = pull[kept]
        if counted.clamp_min(0).sum() >= rho * counted.abs().sum():
            break
    return kept.to(a.dtype)  # pyright: ignore[reportPossiblyUnboundVariable]


balanced_clip.always_current = True  # pyright: ignore[reportFunctionMemberAccess]


def bounds(
    low: float, low_most: float, low_step: float, high: float, high_most: float, high_step: float
) -> Iterator[tuple[float, float]]:
    """(b-, b+) in the order of the search."""
    yield low, high
    while low < low_most:
        low = min(low + low_step, low_most)
        yield low, high
    while high < high_most:
        high = min(high + high_step, high_most)
        yield low, high
