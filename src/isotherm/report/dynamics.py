"""The measured updates of a run: how well each prediction agreed with them, and which tokens the change came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isotherm.errors import UserError
from isotherm.measure import attribution as split
from isotherm.measure.agreement import agreement
from isotherm.measure.dynamics import ESTIMATORS
from isotherm.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa

NUMBERS = (
    "step", "update", "position", "advantage", "covariance", "loss", "gradient", "measured", "along_step",
    "predicted_penalty", *(f"predicted_{name}" for name in ESTIMATORS),
)  # fmt: skip
WORDS = ("token", "family", "quadrant", "quadrant_published", "clip")
STEPS = ("plain_step", "adam_step")
SPACES = ("logits", "parameters")
SPLITS = ("sign", "quadrant", "quadrant_published", "clip", "position", "token", "family", "covariance")
Columns = dict[str, np.ndarray]


def read(run: Run, more: tuple[str, ...] = ()) -> Columns:
    """Every token of every measured update, and `batch`, the number of its update within the run."""
    if not run.measured_steps:
        raise UserError(f"{run.path} has no measured updates; train with measure_every, e.g. --measure-every 5.")
    parts = [checked(run, step, (*NUMBERS, *more)) for step in run.measured_steps]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    pairs = np.stack([columns["step"], columns["update"]], 1)
    columns["batch"] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return columns


def checked(run: Run, step: int, wanted: tuple[str, ...]) -> Columns:
    """The columns of a measured step, numbers as float64."""
    table = run.measured(step)
    if any(name in wanted and name not in table.column_names for name in STEPS):
        raise UserError(
            f"{run.path} measured step {step} at the logits alone; train with --measure-in parameters for the other."
        )
    try:
        if not len(table):
            raise ValueError("there is no token")
        numbers = {name: table[name].to_numpy().astype(np.float64) for name in wanted}
        words = {name: np.array(table[name].to_pylist(), dtype=np.str_) for name in WORDS}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"The measurements of step {step} in {run.path} are damaged: {error}.") from None
    return numbers | words


def dynamics(run: Run, draws: int = 1000) -> pa.Table:
    """A row per estimator, for tokens and for whole updates, with 95 % intervals over the steps; eta is one per run.

    `exact` has the push of an entropy penalty with it. `along_step` has no scale to fit, and no tokens.
    """
    import pyarrow as pa

    tokens = read(run)
    tokens["predicted_exact"] = tokens["predicted_exact"] + tokens["predicted_penalty"]
    updates = by_update(tokens)
    rows = [judged("token", name, tokens, f"predicted_{name}", None, draws) for name in ESTIMATORS]
    rows += [judged("update", name, updates, f"predicted_{name}", None, draws) for name in ESTIMATORS]
    rows.append(judged("update", "along_step", updates, "along_step", 1.0, draws))
    return pa.Table.from_pylist(rows)


def judged(level: str, name: str, columns: Columns, column: str, scale: float | None, draws: int) -> dict[str, Any]:
    found = agreement(columns[column], columns["measured"], columns["step"], scale=scale, draws=draws)
    row: dict[str, Any] = {"level": level, "estimator": name, "count": len(columns["measured"])}
    for statistic, (value, low, high) in found.items():
        row |= {statistic: value, f"{statistic}_low": low, f"{statistic}_high": high}
    return row


def by_update(tokens: Columns) -> Columns:
    """The mean of every number over the tokens of each update."""
    count = np.bincount(tokens["batch"])
    return {name: np.bincount(tokens["batch"], tokens[name]) / count for name in NUMBERS}


def attribution(run: Run, by: str = "sign", space: str = "logits") -> pa.Table:
    """A row per label: its share of the tokens, its part of the change of entropy (mean over updates; nats per token).

    At the logits: predicted with eta = lr, and measured, of the label's own states; and the shares of |loss| and of
    gradient norms. In the parameters: what the label's tokens do to the mean entropy of all states, by a step of -lr
    times the gradient, and by the part of Adam's step that this gradient has. The rest of that step is momentum.
    """
    import pyarrow as pa

    if space not in SPACES:
        raise UserError(f"There is no space {space!r} to attribute in; valid are {', '.join(SPACES)}.")
    tokens = read(run, STEPS if space == "parameters" else ())
    label, batch = labels(tokens, by), tokens["batch"]
    each = 1 / np.bincount(batch)[batch] / (batch.max() + 1)
    parts = {"tokens": each, **(in_parameters if space == "parameters" else at_logits)(tokens, each)}
    found = {name: split.split(values, label) for name, values in parts.items()}
    return pa.Table.from_pylist([{by: name, **{k: v[name] for k, v in found.items()}} for name in found["tokens"]])


def at_logits(tokens: Columns, each: np.ndarray) -> Columns:
    return {
        "predicted": each * tokens["predicted_exact"],
        "penalty": each * tokens["predicted_penalty"],
        "measured": each * tokens["measured"],
        "loss": shares(np.abs(tokens["loss"])),
        "gradient": shares(tokens["gradient"]),
    }


def in_parameters(tokens: Columns, each: np.ndarray) -> Columns:
    return {name: each * tokens[name] for name in STEPS}


def shares(values: np.ndarray) -> np.ndarray:
    return values / (values.sum() or 1.0)


def labels(tokens: Columns, by: str) -> np.ndarray:
    """The label of every token; ranks by covariance are those within its update."""
    if by not in SPLITS:
        raise UserError(f"A change of entropy cannot be split by {by!r}; valid are {', '.join(SPLITS)}.")
    if by == "sign":
        positive, negative = tokens["advantage"] > 0, tokens["advantage"] < 0
        return np.select([positive, negative], ["positive", "negative"], "zero")
    if by == "position":
        return split.positions(tokens["position"])
    if by != "covariance":
        return tokens[by]
    ranks = np.empty(len(tokens["batch"]), dtype="<U16")
    for batch in np.unique(tokens["batch"]):
        here = tokens["batch"] == batch
        ranks[here] = split.covariance_ranks(tokens["covariance"][here])
    return ranks


def covariance_table(run: Run) -> dict[float, float]:
    """Mean covariance of the top shares of the tokens (arXiv 2505.22617), averaged over the measured updates."""
    tokens = read(run)
    found = [
        split.covariance_table(tokens["covariance"][tokens["batch"] == b])
        for b in range(int(tokens["batch"].max()) + 1)
    ]
    return {share: float(np.mean([table[share] for table in found])) for share in split.TOP}
