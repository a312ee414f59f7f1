"""For runs of our own: where the measured change of entropy came from, by sign and by quadrant."""

from __future__ import annotations

import dataclasses

from isotherm.errors import UserError
from isotherm.measure.logs.run_folder import FORMAT
from isotherm.measure.prognosis.diagnosis import Diagnosis
from isotherm.runs import Run


def measured(d: Diagnosis) -> Diagnosis:
    """With the measured change of the steps that `measure_every` measured token by token, where the run has any."""
    run = Run(d.source.file.parent)
    if d.source.format != FORMAT or not run.measured_steps:
        return d
    try:
        found = {kind: sums(run, kind) for kind in ("sign", "quadrant")}
    except UserError as error:
        return dataclasses.replace(d, refusals={**d.refusals, "measured": str(error)})
    return dataclasses.replace(d, measured=found, measured_steps=len(run.measured_steps))


def sums(run: Run, kind: str) -> dict[str, float]:
    return {row[kind]: row["measured"] for row in run.attribution(kind).to_pylist()}
