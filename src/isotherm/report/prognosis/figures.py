"""The figures of a prognosis and of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isotherm.measure.prognosis.drivers import Driver
from isotherm.measure.prognosis.prognosis import Prognosis
from isotherm.report.figures import INK, colour, decimate, element, running_mean, span, thin
from isotherm.report.prognosis.numbers import signed

if TYPE_CHECKING:
    from isotherm.measure.prognosis.diagnosis import Diagnosis

MOST = 500
SEEN, LAW, AHEAD = colour(0), colour(1), colour(2)


@dataclass(frozen=True)
class Drawing:
    title: str
    unit: str
    caption: str
    plot: Callable[[Any], None]


def svg(drawing: Drawing, name: str) -> str:
    return element(drawing.plot, name, f"{drawing.title}, {drawing.unit}")


def of_prognosis(p: Prognosis) -> list[Drawing]:
    found = [Drawing("Entropy", "nats per token", entropy_caption(p), lambda axes: entropy(axes, p))]
    if p.reward is not None and p.reward_ends:
        found.append(Drawing("Reward", p.reward.name, reward_caption(p), lambda axes: reward(axes, p)))
    if p.law:
        text = "Dots: logged steps. Orange: the law R = -a e^H + b, and at H = 0 its ceiling with its 95 % interval."
        found.append(Drawing("The law", "reward against entropy", text, lambda axes: plane(axes, p)))
    return found


def of_diagnosis(d: Diagnosis) -> list[Drawing]:
    text = "Faint: the values. Strong: their running mean."
    found = [Drawing("Entropy", "nats per token", text, lambda axes: series(axes, d.step, d.entropy.values, SEEN))]
    return found + [driver(x, d.step, d.series[x.name]) for x in d.drivers if x.ends.least < x.ends.most]


def driver(x: Driver, step: np.ndarray, values: np.ndarray) -> Drawing:
    told, words = "", x.words.removeprefix("the ").removeprefix("a ")
    if x.relation:
        told = f"Rank correlation with the pace of the fall: {signed(x.relation)}."
    return Drawing(words[0].upper() + words[1:], x.name, told, lambda axes: series(axes, step, values, LAW))


def entropy_caption(p: Prognosis) -> str:
    told = "Blue: the log, faint its values, strong their running mean."
    if p.course:
        ahead = "; right of the dashed line it is a forecast" if p.until.step else ""
        told += f" Orange: the fall fitted to it, with its 90 % band{ahead}."
    if p.exhaustion:
        told += " Ring: where 90 % of the fall is done, with its 90 % interval."
    return told


def reward_caption(p: Prognosis) -> str:
    told = "Blue: the log."
    if p.law and p.course:
        told += " Orange: the law at the fitted entropy; dotted: its ceiling."
    if p.forecast:
        told += " Green: the forecast of the end with its 90 % interval."
    return told


def series(axes, x: np.ndarray, y: np.ndarray, tint: str) -> None:
    """Values faint, their running mean strong; few as dots joined by lines."""
    keep = np.isfinite(y)
    x, y = x[keep], y[keep]
    few = len(y) <= 40
    if not few:
        axes.plot(*decimate(x, y, MOST), color=tint, linewidth=0.7, alpha=0.3)
        y = running_mean(y, span(len(y)))
    axes.plot(*thin(x, y, 250), color=tint, linewidth=1.6, marker="o" if few else "", markersize=2.6)
    across(axes, "step")


def entropy(axes, p: Prognosis) -> None:
    series(axes, p.step, p.entropy.values, SEEN)
    if p.course:
        c = p.course
        axes.fill_between(c.step, c.low, c.high, color=LAW, alpha=0.2, linewidth=0)
        axes.plot(c.step, c.value, color=LAW, linewidth=1.3)
    if p.exhaustion:
        e = p.exhaustion
        right = p.until.step or p.step[-1]
        if e.step.value <= right:
            level = e.floor.value + 0.1 * (e.start.value - e.floor.value)
            axes.plot([e.step.low, min(e.step.high, right)], [level, level], color=LAW, linewidth=1)
            axes.plot(
                [e.step.value], [level], "o", color=LAW, markersize=5, markerfacecolor="none", markeredgewidth=1.3
            )
    now(axes, p)
    axes.set_ylim(bottom=0)


def reward(axes, p: Prognosis) -> None:
    assert p.reward is not None
    series(axes, p.step, p.reward.values, SEEN)
    if p.law and p.course:
        axes.plot(p.course.step, p.law.at(p.course.value), color=LAW, linewidth=1.3)
        axes.axhline(p.law.ceiling.value, color=LAW, linewidth=0.9, linestyle=":")
    if p.forecast:
        end = p.forecast.end_to_end
        axes.plot([p.forecast.until] * 2, [end.low, end.high], color=AHEAD, linewidth=2)
        axes.plot([p.forecast.until], [end.value], "o", color=AHEAD, markersize=5)
    now(axes, p)


def plane(axes, p: Prognosis) -> None:
    assert p.law is not None
    assert p.reward is not None
    keep = np.isfinite(p.reward.values)
    h, r = p.entropy.values[keep], p.reward.values[keep]
    axes.plot(*thin(h, r, MOST), ".", color=SEEN, markersize=4, alpha=0.55, markeredgewidth=0)
    line = np.linspace(0, h.max(), 100)
    axes.plot(line, p.law.at(line), color=LAW, linewidth=1.4)
    c = p.law.ceiling
    axes.plot([0, 0], [c.low, c.high], color=LAW, linewidth=2)
    axes.plot([0], [c.value], "o", color=LAW, markersize=5)
    across(axes, "entropy, nats per token")


def now(axes, p: Prognosis) -> None:
    """A line at the last step of the log, where something lies behind it."""
    if p.until.step:
        axes.axvline(p.step[-1], color=INK, linewidth=0.8, linestyle=(0, (3, 3)))


def across(axes, words: str) -> None:
    axes.margins(x=0.02, y=0.08)
    axes.set_xlabel(words, labelpad=2)
