"""The thermostat: turns a method's knob so that the measured entropy follows a line.

From one step to the next H' = H + d + s m, with m the moving mean of x(u) that the optimizer's momentum makes. x(u) is
the change of the mean entropy that the first order predicts for this very batch with the knob at u (the feed-forward),
s its scale and d what it leaves out. A Kalman filter follows (H, d, s) from the measured H and its known noise (the
feedback). x is that of the value in force, so nothing winds up while a knob is at its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isotherm.objective.knobs import Knob, at_bound
from isotherm.objective.lines import Line
from isotherm.objective.method import Measured

Values = dict[str, float]

REACH = {True: 1.5, False: 8.0}  # steps to make good a distance to the line, of a knob that acts at once or not
RISE = 0.08  # of a knob's scale in one step towards more entropy; the way back is free, for explosions are faster
FIRST = {True: 0.15, False: 0.05}  # share of H that the largest x is taken for at first, of knobs pushed and not
SCALES = 30.0  # how many times more or less than at first the scale may become
FALL = -0.04  # of H in a step: what is expected of a policy whose knobs rest, before anything is known
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
        line, slope = self.aim(measured, state["start"])
        gap = line + slope * self.reach - h
        felt = self.felt * state["push"]  # what the momentum will still bring, in units of x
        wanted = ((gap - self.reach * d) / s - felt) / (self.reach - self.felt)
        values, x = self.solve(state["values"], measured, wanted)
        held = all(at_bound(knob, values[knob.name]) for knob in self.knobs)
        push = self.momentum * state["push"] + (1 - self.momentum) * x
        return {**state, "values": values, "push": push, "stuck": state["stuck"] + 1 if held else 0, "line": line}

    def aim(self, measured: Measured, start: float) -> tuple[float, float]:
        """The line in this step, and its slope over the next ones, as many as it takes a push to be felt."""
        now, then = (self.line.at(step, measured.steps, start) for step in (measured.step, measured.step + self.soon))
        return now, (then - now) / self.soon

    @property
    def soon(self) -> int:
        return 1 + round(self.felt)

    @property
    def felt(self) -> float:
        """Steps' worth of push that is still to come when the push ends."""
        return self.momentum / (1 - self.momentum)

    @property
    def reach(self) -> float:
        return REACH[self.known] + self.felt

    def seen(self, state: dict[str, Any], measured: Measured) -> dict[str, Any]:
        """The state with (H, d, s) and their covariance brought up to what was measured."""
        h, noise = measured.entropy, measured.noise
        if "mean" in state:
            mean, cov = self.predict(np.array(state["mean"]), np.array(state["cov"]), state["push"])
            mean, cov = correct(mean, cov, h, noise)
            mean[2] = min(state["first"] * SCALES, max(state["first"] / SCALES, mean[2]))
            return {**state, "mean": mean.tolist(), "cov": cov.tolist()}
        pushed = self.knobs[0].pushed
        s = 1.0 if self.known else FIRST[pushed] * h / max(measured.size if pushed else h, 1e-12)
        _, x = self.solve(state["values"], measured, None)
        cov = np.diag([noise**2, (0.02 * h) ** 2, (0.3 * s) ** 2])
        return {**state, "mean": [h, FALL * h - s * x, s], "cov": cov.tolist(), "first": s, "start": h, "push": 0.0}

    def predict(self, mean: np.ndarray, cov: np.ndarray, push: float) -> tuple[np.ndarray, np.ndarray]:
        """(H, d, s) one step later: H + d + s push, d, s, each with its walk."""
        move = np.array([[1.0, 1.0, push], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        walk = np.array([WALK[0] * mean[0], WALK[1] * mean[0], WALK[2] * mean[2]])
        return move @ mean, move @ cov @ move.T + np.diag(walk**2)

    def solve(self, before: Values, measured: Measured, wanted: float | None) -> tuple[Values, float]:
        """The values whose x is the wanted one, or as near as bounds allow; the first knob goes before the next.

        None asks for the x of the values as they are.
        """
        values, x = dict(zip(self.names, self.neutral, strict=True)), 0.0
        for knob in self.knobs:
            places, xs = effect(knob, before[knob.name], values, measured)
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
