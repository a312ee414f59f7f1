"""Curves of one evaluation, before training and after: reliability, and entropy along the response."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isotherm.measure import calibration, positions
from isotherm.runs import Run

COLUMNS = ["verdict", "logprob", "entropy"]
LEAST = 10  # responses in a bin of the reliability curve that is drawn
PARTS = 10


class Line(NamedTuple):
    """A curve of one evaluation; `before` is that of the first one of a run that has several."""

    x: np.ndarray
    y: np.ndarray
    before: bool


class Stored(NamedTuple):
    """What the curves need of an evaluation's responses."""

    length: np.ndarray
    logprob: np.ndarray  # mean over the tokens of each response
    entropy: np.ndarray  # [tokens]
    verdict: np.ndarray


def lines(run: Run) -> tuple[list[Line], list[Line]]:
    """Reliability and entropy along the response, of the first and of the last stored evaluation."""
    ends = dict.fromkeys([*run.eval_steps[:1], *run.eval_steps[-1:]])
    both = [(read(run, step), step != run.eval_steps[-1]) for step in ends]
    return [reliability(found, before) for found, before in both], [along(found, before) for found, before in both]


def read(run: Run, step: int) -> Stored:
    """Responses without a token are left out."""
    table = run.eval_rollouts(step, COLUMNS)
    column = {name: table[name].combine_chunks() for name in COLUMNS}
    length = np.diff(column["entropy"].offsets.to_numpy())
    flat = {name: column[name].flatten().to_numpy(zero_copy_only=False) for name in ("logprob", "entropy")}
    row = np.repeat(np.arange(len(length)), length)
    total = np.bincount(row, flat["logprob"].astype(np.float64), minlength=len(length))
    full, verdict = length > 0, column["verdict"].to_numpy(zero_copy_only=False)
    return Stored(length[full], total[full] / length[full], flat["entropy"], verdict[full])


def reliability(found: Stored, before: bool) -> Line:
    """Bins with few responses are left out."""
    judged = found.verdict != "error"
    curve = calibration.reliability(np.exp(found.logprob[judged]), found.verdict[judged] == "correct")
    known = curve.count >= LEAST
    return Line(curve.confidence[known], curve.accuracy[known], before)


def along(found: Stored, before: bool) -> Line:
    """Each tenth at its middle, in per cent of the response."""
    profile = positions.by_part(found.entropy, found.length, PARTS)
    known = profile.count > 0
    return Line(((np.arange(PARTS) + 0.5) * 100 / PARTS)[known], profile.mean[known], before)
