"""Alarms beside the early warning: entropy that explodes, collapse in spite of a method, and no learning at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from isotherm.measure.roc import Z
from isotherm.measure.warning import COLLAPSED
from isotherm.measure.watched import NOW, Watched, watched

LOOKED_AT = ("reward/mean", "hold/line", "method/touched")  # beside the entropy
EXPLODED = 1.5  # times the entropy at the start
FEWEST = 24  # rows before a flat reward means anything
GAIN = 0.03  # of the reward, from the first third of the rows to the last: less than this is no learning
SOLVED = 0.95  # mean reward from which on there is nothing left to learn


def alarms(metrics: Mapping[str, ArrayLike]) -> list[str]:
    """A sentence for every alarm that these rows give; names as in `collapse_risk`.

    >>> alarms({"entropy": [0.4] * 5 + [0.9] * 5})
    ['Entropy explodes: it is 2.25 times that of the start, 0.9 nats against 0.4.']
    """
    run = watched(metrics)
    return [text for text in (explosion(run), collapse_in_spite(run), no_learning(run)) if text]


def explosion(run: Watched) -> str:
    """The mean entropy of the last 3 rows exceeds 1.5 times that of the first 3."""
    now, start = run.now, run.start
    if now <= EXPLODED * start:
        return ""
    return f"Entropy explodes: it is {now / start:.3g} times that of the start, {now:.3g} nats against {start:.3g}."


def collapse_in_spite(run: Watched) -> str:
    """The last 3 rows are below half of a line that is held, or below half of the start while a method touches tokens.

    A method that only moves a clip bound touches none, and is not seen.
    """
    line, touched = run.mean("hold/line", NOW), run.mean("method/touched", NOW)
    if run.now < COLLAPSED * line:
        return f"Entropy collapses in spite of the thermostat: it is {run.now:.3g} nats, and the line {line:.3g}."
    if run.now < COLLAPSED * run.start and touched > 0:
        left, share = run.now / run.start, f"{100 * touched:.2g} % of the tokens"
        return f"Entropy collapses in spite of the method: {100 * left:.0f} % of it are left, and {share} are touched."
    return ""


def no_learning(run: Watched) -> str:
    """The reward's gain from the first to the last third of the rows is below 0.03 with 97.5 % confidence.

    gain + 1.96 sqrt(s1^2 / n + s3^2 / n) < 0.03, from 24 rows on, and where the first third is below 0.95.
    """
    reward = run.column("reward/mean")
    third = len(reward) // 3
    if len(reward) < FEWEST:
        return ""
    first, last = reward[:third], reward[-third:]
    gain = last.mean() - first.mean()
    error = np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / third)
    if first.mean() >= SOLVED or gain + Z * error >= GAIN:
        return ""
    told = f"from {first.mean():.3g} to {last.mean():.3g} ({gain:+.3g} +- {Z * error:.2g})"
    return f"No learning: from the first to the last third of the steps the mean reward went {told}."
