"""Clips that a control moves by the entropy."""

from __future__ import annotations

from functools import partial

from isotherm.objective.bounds import above, at_least, at_most, one_of
from isotherm.objective.interventions import adaptive_clip, flexible_clip
from isotherm.objective.method import Control, Slots
from isotherm.objective.rows.basic import clip

SCHEDULES = ("id", "did", "od", "none")


def flexible(schedule: str = "od", alpha: float = -0.3, beta: float = 0.5, low: float = 0.2, high: float = 0.2,
             floor: float = 0.2, turn: float = 0.5, mode: float = 1.0) -> Slots:  # fmt: skip
    """A clip wide for rare tokens, up or down by schedule id, did, od, none (alpha, beta, turn not confirmed)."""
    one_of(SCHEDULES, schedule=schedule)
    at_least(0, beta=beta, low=low, high=high, floor=floor, turn=turn)
    at_most(0, alpha=alpha)
    at_most(1, floor=floor, turn=turn, mode=mode)
    at_least(-1, mode=mode)
    if mode != 1.0 and schedule != "none":
        raise ValueError(f"the schedule {schedule} moves mode, so mode={mode:g} goes with schedule=none only")
    start = {"id": flexible_clip.RAISE, "none": mode}.get(schedule, flexible_clip.LOWER)
    bounds = {"low": low, "high": high, "alpha": alpha, "beta": beta}
    slots: Slots = {"surrogate": partial(flexible_clip.flexible_clip, **bounds, mode=start)}
    if schedule == "none":
        return slots
    update = partial(flexible_clip.by_turns, schedule=schedule, turn=turn, floor=floor)
    return slots | {"controls": (Control("flexible_clip.mode", start, update),)}


def adapo(target: float = 0.2, low: float = 0.2, start: float = 0.28, lowest: float = 0.2, highest: float = 0.32,
          up: float = 1.05, down: float = 0.95) -> Slots:  # fmt: skip
    """The upper clip bound grows while the entropy is below target, else shrinks (target, start not confirmed)."""
    at_least(0, low=low, lowest=lowest, down=down)
    at_least(lowest, start=start, highest=highest)
    at_most(highest, start=start)
    at_least(1, up=up)
    at_most(1, down=down)
    update = partial(adaptive_clip.stretch, target=target, up=up, down=down, least=lowest, most=highest)
    return {"surrogate": clip(low, start), "controls": (Control("ppo_clip.high", start, update),)}


def mai(target: float = 0.2, low: float = 0.2, delta: float = 0.25, most: float = 2.5) -> Slots:
    """The upper clip bound is 1 + k times the lower, k moved by steps (target and what k multiplies not confirmed)."""
    at_least(0, low=low)
    above(0, most=most, delta=delta)
    update = partial(adaptive_clip.widen, target=target, low=low, delta=delta, most=most)
    return {"surrogate": clip(low, low), "controls": (Control("ppo_clip.high", low, update),)}
