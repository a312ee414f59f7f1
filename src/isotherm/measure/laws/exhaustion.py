"""When entropy will be used up: the step at which 90 % of its fall has happened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isotherm.errors import UserError
from isotherm.measure.laws.decay import falls, shape
from isotherm.measure.laws.series import FEWEST, Estimate, columns, enough, windows

LEVEL = 0.9
SHARE = 0.9  # of the fall
FALLING = 0.95  # least probability that entropy falls at all
LONGEST = 10.0  # time constants up to so many times the steps seen


@dataclass(frozen=True)
class Exhaustion:
    step: Estimate  # at which 90 % of the fall from the first step to the floor has happened
    floor: Estimate  # nats per token
    start: Estimate  # nats per token, without noise
    falling: float  # probability that entropy falls
    done: Estimate  # share of the fall that has happened at the last row, 1 - g(t)


def exhaustion(step: ArrayLike, entropy: ArrayLike, seed: int = 0) -> Exhaustion:
    """t at which H(t) = f + (1 - 0.9) (h0 - f), with H(t) = f + (h0 - f) g(t); shapes as in `decay`."""
    t, h = columns(step=step, entropy=entropy)
    enough(len(h), FEWEST, "To say when entropy will be used up")
    (t, h), _ = windows(t, h)
    refuse_constant(h)
    drawn = falls(t - t[0], h, LONGEST * (t[-1] - t[0]), seed)
    falling = float((drawn.start > drawn.floor).mean())
    if falling < FALLING:
        raise UserError(
            f"The entropy does not clearly fall (probability {falling:.2f}, from {h[0]:.3g} to {h[-1]:.3g} nats), so "
            "nothing says when it will be used up."
        )
    return Exhaustion(
        step=quantiles(t[0] + drawn.time_of(SHARE)),
        floor=quantiles(drawn.floor),
        start=quantiles(drawn.start),
        falling=falling,
        done=quantiles(1 - shape(t[-1] - t[0], drawn.tau, drawn.exponent, drawn.power)),
    )


def refuse_constant(h: np.ndarray) -> None:
    if np.ptp(h) < 1e-6:
        raise UserError(f"The entropy stays at {h[0]:.4g} nats, so nothing says when it will be used up.")


def quantiles(draws: np.ndarray, level: float = LEVEL) -> Estimate:
    """The median, and the interval between the quantiles (1 - level) / 2 and (1 + level) / 2."""
    low, value, high = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high), level)
