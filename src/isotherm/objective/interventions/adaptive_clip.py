"""Controls that move the upper clip bound by the entropy: those of ADAPO 2026 and MAI 2026, known by one line each.

Neither paper's number could be found; the year is that of the source which describes them.
"""

from __future__ import annotations

from typing import Any

from isotherm.objective.method import Measured


def stretch(
    state: dict[str, Any], measured: Measured, *, target: float, up: float, down: float, least: float, most: float
) -> dict[str, Any]:
    """high <- clip(up high if H < target else down high, least, most) (ADAPO 2026)."""
    high = state["value"] * (up if measured.entropy < target else down)
    return {"value": min(most, max(least, high))}


def widen(
    state: dict[str, Any], measured: Measured, *, target: float, low: float, delta: float, most: float
) -> dict[str, Any]:
    """k <- clip(k + delta sign(target - H), 0, most), and high = (1 + k) low (MAI 2026).

    What k multiplies could not be confirmed: here it is the part of the upper width beyond the lower one.
    """
    gap = target - measured.entropy
    k = min(most, max(0.0, state.get("k", 0.0) + delta * ((gap > 0) - (gap < 0))))
    return {"value": (1 + k) * low, "k": k}
