"""The thermostat: turns a method's knob so that the measured entropy follows a line.

From one step to the next H' = H + the line's own step + d + s m, with m the moving mean of x(u) that the optimizer's
momentum makes. x(u) is the change of the mean entropy that the first order predicts for this very batch with the knob
at u instead of at rest (the feed-forward), s its scale and d what the policy does otherwise, beside following the line.
A Kalman filter follows (H, d, s) from the measured H and its known noise (the feedback). x is that of the value in
force, so nothing winds up while a knob is at its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm.objective.knobs import Knob, at_bound
from isotherm.objective.lines import Line
from isotherm.objective.method import Measured

Values = dict[str, float]

# By how a knob acts: the temperature at once, others on the states that they push, or through what the states share.
REACH = {"at once": 1.5, "pushed": 2.0, "shared": 6.0}  # steps in which a distance to the line is to be made good
RISE = 0.2  # of a knob's scale in one step towards more entropy; the way back is free, for explosions are faster
FIRST = {"at once": 1.0, "pushed": 1.0, "shared": 0.05}  # s at first; the first order is taken at its word
SCALES = 30.0  # how many times more or less than at first the scale may become
FALL = -0.02  # of H in a step: how a policy whose knobs rest is expected to leave the line, before anything is known
WALK = (0.005, 0.005, 0.1)  # per step: shares of H, of H for d, and of s


@dataclass(frozen=True)
class Thermostat:
    """`update(state, measured) -> state` before each update. The first knob moves; what it cannot do, the next does."""

    line: Line
    knobs: tuple[Knob, ...]
    neutral: tuple[float, ...]  # where each knob rests
    momentum: float = 0.0  # share of a step's push that the next step still feels
    known: bool = False  # whether x is the change itself, as of the temperature, and not one up to a scale

    def init(self) -> dict[str, Any]:
        return {"values": dict(zip(self.names, self.neutral, strict=True)), "stuck": 0}

    @property
    def names(self) -> list[str]:
        return [knob.name for knob in self.knobs]

    def update(self, state: dict[str, Any], measured: Measured) -> dict[str, Any]:
        state = self.seen(state, measured)
        h, d, s = state["mean"]
        gap = state["line"] - h
        felt = self.felt * state["push"]  # what the momentum will still bring, in units of x
        wanted = ((gap - self.reach * d) / s - felt) / (self.reach - self.felt)
        values, x = self.solve(state["values"], measured, wanted)
        held = all(at_bound(knob, values[knob.name]) for knob in self.knobs)
        push = self.momentum * state["push"] + (1 - self.momentum) * x
        return {**state, "values": values, "push": push, "stuck": state["stuck"] + 1 if held else 0}

    @property
    def way(self) -> str:
        """How the knobs act, those of several like the first."""
        return "at once" if self.known else "pushed" if self.knobs[0].pushed else "shared"

    @property
    def felt(self) -> float:
        """Steps' worth of push that is still to come when the push ends."""
        return self.momentum / (1 - self.momentum)

    @property
    def reach(self) -> float:
        return REACH[self.way] + self.felt

    def seen(self, state: dict[str, Any], measured: Measured) -> dict[str, Any]:
        """The state with (H, d, s) and their covariance brought up to what was measured."""
        h, noise = measured.entropy, measured.noise
        line = self.line.at(measured.step, measured.steps, state.get("start", h))
        if "mean" in state:
            mean, cov = self.predict(np.array(state["mean"]), np.array(state["cov"]), state["push"])
            mean[0] += line - state["line"]
            mean, cov = correct(mean, cov, h, noise)
            mean[2] = min(state["first"] * SCALES, max(state["first"] / SCALES, mean[2]))
            return {**state, "mean": mean.tolist(), "cov": cov.tolist(), "line": line}
        s = FIRST[self.way]
        _, x = self.solve(state["values"], measured, None)
        cov = np.diag([noise**2, (0.02 * h) ** 2, (0.3 * s) ** 2]).tolist()
        mean = [h, FALL * h - s * x, s]
        return {**state, "mean": mean, "cov": cov, "first": s, "start": h, "push": 0.0, "line": line}

    def predict(self, mean: np.ndarray, cov: np.ndarray, push: float) -> tuple[np.ndarray, np.ndarray]:
        """(H, d, s) one step later, on a level line: H + d + s push, d, s, each with its walk."""
        move = np.array([[1.0, 1.0, push], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        walk = np.array([WALK[0] * mean[0], WALK[1] * mean[0], WALK[2] * mean[2]])
        return move @ mean, move @ cov @ move.T + np.diag(walk**2)

    def solve(self, before: Values, measured: Measured, wanted: float | None) -> tuple[Values, float]:
        """The values whose x is the wanted one, or as near as bounds allow; the first knob goes before the next.

        None asks for the x of the values as they are.
        """
        values, x = dict(zip(self.names, self.neutral, strict=True)), 0.0
        rest = measured.change(values) if self.way == "pushed" else 0.0
        for knob in self.knobs:
            places, xs = effect(knob, before[knob.name], values, measured)
            xs = xs - rest
            place = knob.place(before[knob.name]) if wanted is None else invert(places, xs, wanted)
            values[knob.name], x = knob.value(place), float(np.interp(place, places, xs))
        return values, x


def effect(knob: Knob, now: float, values: Values, measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """x at both ends of the way that the knob may go in this step and at its present place, the others where they are.

    For a knob whose effect the first order does not tell, x is its place times H.
    """
    place = min(1.0, max(0.0, knob.place(now)))
    ends = (0.0, place + RISE) if knob.direction > 0 else (place - RISE, 1.0)
    places = np.unique(np.clip([ends[0], place, ends[1]], 0.0, 1.0))
    if not knob.pushed:
        return places, knob.direction * measured.entropy * places
    return places, np.array([measured.change({**values, knob.name: knob.value(p)}) for p in places])


def invert(places: np.ndarray, xs: np.ndarray, wanted: float) -> float:
    """The place whose x is nearest to the wanted one, on straight lines between the points."""
    order = np.argsort(xs, kind="stable")
    return float(np.interp(wanted, xs[order], places[order]))


def correct(mean: np.ndarray, cov: np.ndarray, h: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """The filter after H was measured as h, with this standard error."""
    gain = cov[:, 0] / (cov[0, 0] + noise**2)
    return mean + gain * (h - mean[0]), cov - np.outer(gain, cov[0])
