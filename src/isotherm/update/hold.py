"""The thermostat of a run: which knobs it turns, and what it is told in every step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from isotherm.errors import UserError
from isotherm.objective.compose import parse
from isotherm.objective.knobs import KNOBS, TEMPERATURE, Knob
from isotherm.objective.lines import line
from isotherm.objective.method import Measured, Method, knob_value
from isotherm.objective.prediction import changes
from isotherm.objective.thermostat import Thermostat
from isotherm.records import Rollout, Tokens
from isotherm.update.config import Config

LONG = 10  # steps at the bound after which the run says so
NEAR = 0.05  # of the line


def thermostat(config: Config, method: Method) -> tuple[Method, Thermostat | None]:
    """The method without its controls of the parts whose knobs are held, and what holds them."""
    if not config.hold_entropy:
        if config.hold_by:
            raise UserError(f"hold_by is {config.hold_by}, but no line is given; add --hold-entropy, e.g. 0.3.")
        return method, None
    knobs = knobs_of(config, method)
    resting = [config.temperature if k.name == TEMPERATURE else knob_value(method, k.name) for k in knobs]
    names = {knob.name for knob in knobs}
    turned = {name.split(".")[0] for name in names}
    left = tuple(control for control in method.controls if control.knob.split(".")[0] not in turned)
    at_once = names == {TEMPERATURE}
    momentum = 0.0 if at_once else config.beta1**config.updates
    held = Thermostat(line(config.hold_entropy), knobs, tuple(x or 0.0 for x in resting), momentum, at_once)
    return dataclasses.replace(method, controls=left), held


def knobs_of(config: Config, method: Method) -> tuple[Knob, ...]:
    """Those that hold_by names, or the first that the method's terms have."""
    offered = {knob.name: knob for row, _ in parse(config.method) for knob in row.knobs}
    offered = {name: knob for name, knob in offered.items() if knob_value(method, name) is not None}
    offered[TEMPERATURE] = KNOBS[TEMPERATURE]
    asked = [f"sampling.{name}" if name == "temperature" else name for name in split(config.hold_by)]
    wrong = [name for name in asked if name not in offered]
    if wrong or (not asked and len(offered) == 1):
        what = f"{config.method} has no knob {wrong[0]!r}" if wrong else f"{config.method} has no knob of its own"
        raise UserError(f"{what}; --hold-by takes: {', '.join(offered)}.")
    chosen = [offered[name] for name in asked] or [next(iter(offered.values()))]
    if len(chosen) > 1 and TEMPERATURE in asked:
        raise UserError(
            "The temperature moves the entropy at once and other knobs do so by learning; hold by one kind."
        )
    blind = [knob.name for knob in chosen if not knob.direction]
    if blind:
        raise UserError(f"Which way {blind[0]} moves the entropy is not known; --hold-by takes another.")
    return tuple(chosen)


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def measured(config: Config, method: Method, rollout: Rollout, tokens: Tokens, temperature: float) -> Measured:
    """What the thermostat may look at before the updates of this step.

    Penalties on functionals of the distribution are left out of the prediction: nothing is scored with them yet.
    """
    method = method.without_functionals
    spread = float(((tokens.logprob + tokens.entropy) ** 2).double().mean()) if len(tokens) else 0.0

    def change(values: dict[str, float]) -> float:
        if TEMPERATURE in values:  # dH / d log tau is the variance of log pi
            return spread * math.log(values[TEMPERATURE] / temperature)
        chosen = method
        for name, value in values.items():
            chosen = chosen.with_knob(name, value)
        return float(changes(tokens, chosen, temperature).double().sum())

    mean, noise = mean_entropy(rollout)
    return Measured(rollout.step, config.steps, mean, noise, change)


def mean_entropy(rollout: Rollout) -> tuple[float, float]:
    """The mean over sampled tokens, and its standard error over problems."""
    _, slot = np.unique(rollout.group, return_inverse=True)
    total = np.bincount(slot, rollout.entropy.sum(1, dtype=np.float64))
    count = np.bincount(slot, rollout.length).astype(np.float64)
    mean = total.sum() / count.sum()
    residual = total - mean * count
    groups = len(total)
    return float(mean), float(np.sqrt((residual**2).sum() * groups / max(1, groups - 1)) / count.sum())


def out_of_reach(state: dict[str, Any]) -> str:
    """A sentence when the knobs have been at their bounds for a while and the entropy is off the line; else nothing."""
    if not state or state["stuck"] != LONG:
        return ""
    entropy, line = state["mean"][0], state["line"]
    if abs(entropy - line) <= NEAR * line:
        return ""
    knobs = " and ".join(f"{name} = {value:.3g}" for name, value in state["values"].items())
    side = "above" if entropy > line else "below"
    return (
        f"the entropy is {entropy:.3f}, {side} the line's {line:.3f}, and {knobs} has been at its bound for {LONG} "
        "steps: the line cannot be held so. Draw it nearer, or add a knob to --hold-by."
    )
