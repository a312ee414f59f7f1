"""What a method did in one update; nothing here enters a loss."""

from __future__ import annotations

from typing import NamedTuple

import torch

from isotherm.objective.factors import bare
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.objective.method import Decision, Method
from isotherm.objective.surrogates import LARGEST, ppo_clip
from isotherm.records import Tokens


class Telemetry(NamedTuple):
    """Shares of the tokens of a mini-batch, and moments of the log-ratio."""

    clip_low: float
    clip_high: float
    touched: float
    clamped: float
    covariance: float
    ratio_max: float
    kl_old: float


@torch.no_grad()
def telemetry(tokens: Tokens, method: Method, decision: Decision) -> Telemetry:
    x = tokens.logprob - tokens.old_logprob
    r = x.clamp(-LARGEST, LARGEST).exp()
    low, high = clip_bounds(method)
    touched = (decision.weight != 1) | (decision.advantage != tokens.advantage)
    for coefficient in decision.penalties:
        touched |= coefficient != 0
    return Telemetry(
        clip_low=share((r < 1 - low) & (tokens.advantage < 0)),
        clip_high=share((r > 1 + high) & (tokens.advantage > 0)),
        touched=share(touched),
        clamped=share(x.abs() > LARGEST),
        covariance=float(covariance(tokens).mean()),
        ratio_max=float(r.max()),
        kl_old=float((r - 1 - x).mean()),
    )


def share(mask: torch.Tensor) -> float:
    return float(mask.double().mean())


def clip_bounds(method: Method) -> tuple[float, float]:
    """The surrogate's clip range; infinite where it has none."""
    if bare(method.surrogate) is not ppo_clip:
        return float("inf"), float("inf")
    keywords = method.surrogate.keywords  # pyright: ignore[reportFunctionMemberAccess]
    return keywords["low"], keywords["high"]
