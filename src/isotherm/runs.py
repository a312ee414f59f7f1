"""A run folder as an object: settings, metrics as arrays, rollouts, checkpoints."""

from __future__ import annotations

import difflib
import html
import json
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isotherm.errors import UserError
from isotherm.measure import curves

if TYPE_CHECKING:
    import pyarrow

    from isotherm.measure.evaluation import Evaluation

LARGEST = 2**53  # from here on not every whole number has a float64 of its own
HUGE = 2**1023  # whole numbers below have a float64 near them


class Run:
    """A run folder. `metrics` maps a name to an array aligned with `metrics["step"]`; NaN where a row lacks it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Every setting of the run."""
        return read_json(self.path / "config.json")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, machine, and the precision with its reason; empty where the run wrote none."""
        path = self.path / "environment.json"
        return read_json(path) if path.exists() else {}

    @cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        return columns(read_lines(self.path / "metrics.jsonl"))

    @cached_property
    def timings(self) -> dict[str, np.ndarray]:
        """Seconds and tokens per second, by step; empty where the run wrote none."""
        path = self.path / "timings.jsonl"
        return columns(read_lines(path)) if path.is_file() else {}

    @property
    def steps(self) -> int:
        """The last step in the metrics."""
        return int(self.metrics["step"][-1]) if len(self.metrics["step"]) else 0

    @property
    def name(self) -> str:
        return f"{self.config.get('method', self.path.name)}-seed{self.config.get('seed', 0)}"

    @property
    def checkpoint(self) -> Path | None:
        """The newest published checkpoint."""
        return max(numbered(self.path / "checkpoints", r"step-(\d+)").items(), default=(0, None))[1]

    def ends(self, name: str, window: int = 1) -> tuple[float, float]:
        """The first finite value, and the mean of the last `window` finite values; NaN where there are none."""
        return curves.ends(self.metric(name), window)

    def rollouts(self, step: int, columns: list[str] | None = None) -> pyarrow.Table:
        """The stored responses of a training step, one row each."""
        return self.stored("step", step, columns)

    def eval_rollouts(self, step: int, columns: list[str] | None = None) -> pyarrow.Table:
        """The stored responses of the evaluation after a step; step 0 is before training."""
        return self.stored("eval", step, columns)

    def evaluation(self, step: int | None = None) -> Evaluation:
        """The stored responses of the evaluation after a step (by default the last), with all that is measured of them.

        >>> run.evaluation(125).for_family("countdown").measures()["self_bleu"]  # doctest: +SKIP
        >>> run.evaluation(125).reliability("vote").accuracy  # doctest: +SKIP
        """
        from isotherm.measure.evaluation import Evaluation
        from isotherm.rollout import store
        from isotherm.tasks.problems import forms

        path = self.file("eval", max(self.eval_steps, default=0) if step is None else step)
        rollout = store.load(path)
        if not rollout.length.min(initial=len(rollout.length)):
            raise UserError(f"{path} has no response, or one without a token: there is nothing to measure.")
        try:
            return Evaluation(rollout, forms(rollout))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"The problems in {path} are not those that Isotherm poses: {error!r}.") from None

    def steps_to(self, name: str, threshold: float, *, falling: bool = False, window: int = 1) -> float:
        """The first step at which the mean of the last `window` values reaches the threshold; NaN where none does."""
        return curves.steps_to(self.metrics["step"], self.metric(name), threshold, falling=falling, window=window)

    def area(self, name: str) -> float:
        """Area under the metric's curve over the steps."""
        return curves.area(self.metrics["step"], self.metric(name))

    def metric(self, name: str) -> np.ndarray:
        """The array of that name."""
        if name not in self.metrics:
            near = difflib.get_close_matches(name, self.metrics, n=3, cutoff=0.5)
            hint = f"; near are {', '.join(near)}." if near else "."
            raise UserError(f"{self.path} has no metric {name!r}: `isotherm metrics` lists what there is{hint}")
        return self.metrics[name]

    @property
    def eval_steps(self) -> list[int]:
        """The steps whose evaluation is stored."""
        return sorted(numbered(self.path / "rollouts", r"eval-(\d+)\.parquet"))

    @property
    def measured_steps(self) -> list[int]:
        """The steps whose updates were measured token by token."""
        return sorted(numbered(self.path / "dynamics", r"step-(\d+)\.parquet"))

    def measured(self, step: int, columns: list[str] | None = None) -> pyarrow.Table:
        """What the updates of a step did to the entropy, a row per token."""
        return parquet(file(self.path / "dynamics", "step", "measured updates", step), columns)

    def dynamics(self) -> pyarrow.Table:
        """How well each estimator predicted the measured changes of entropy, per token and per update."""
        from isotherm.report.dynamics import dynamics

        return dynamics(self)

    def attribution(self, by: str = "sign", space: str = "logits") -> pyarrow.Table:
        """Where the entropy went: by sign, quadrant, quadrant_published, clip, position, token, family or covariance.

        quadrant has the exact boundary, quadrant_published that of arXiv 2510.10150. In the space of the parameters
        where the run was trained with measure_in=parameters.
        """
        from isotherm.report.dynamics import attribution

        return attribution(self, by, space)

    def stored(self, kind: str, step: int, columns: list[str] | None) -> pyarrow.Table:
        return parquet(self.file(kind, step), columns)

    def file(self, kind: str, step: int) -> Path:
        """Where the stored responses of a step lie."""
        return file(self.path / "rollouts", kind, f"stored {kind} rollouts", step)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the HTML page of this run, by default into its folder."""
        from isotherm.report.page import write_report

        return write_report([self], Path(out) if out else self.path / "report.html")

    def headline(self) -> dict[str, str]:
        entropy, reward = ends_of(self, "entropy/exact"), ends_of(self, "reward/mean")
        return {
            "steps": f"{self.steps}/{self.config.get('steps', '?')}",
            "entropy": f"{entropy[0]:.3g} to {entropy[1]:.3g} nats",
            "reward": f"{reward[0]:.3g} to {reward[1]:.3g}",
        }

    def __repr__(self) -> str:
        values = ", ".join(f"{key} {value}" for key, value in self.headline().items())
        return f"Run({str(self.path)!r}: {self.name}, {values})"

    def _repr_html_(self) -> str:
        rows = {"run": self.name, "folder": str(self.path), **self.headline()}
        cells = (f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table>{''.join(cells)}</table>"


def ends_of(run: Run, name: str, window: int = 1) -> tuple[float, float]:
    """`run.ends(name)`; NaN where the run has no such metric."""
    return curves.ends(run.metrics.get(name, np.empty(0)), window)


def load_run(path: str | Path) -> Run:
    """The run in a folder, with its settings and metrics read and found whole."""
    run = Run(path)
    if not run.path.is_dir():
        raise UserError(f"The run folder {run.path} does not exist.")
    if not (run.path / "metrics.jsonl").is_file():
        raise UserError(f"{run.path} is no run folder, or its run has not ended a step: it has no metrics.jsonl.")
    _ = run.config, run.environment, run.metrics, run.timings
    return run


def file(folder: Path, kind: str, what: str, step: int) -> Path:
    """The file of a step in a folder of them, or the steps that there are."""
    files = numbered(folder, kind + r"-(\d+)\.parquet")
    if step not in files:
        have = f"it holds {len(files)}, from {min(files)} to {max(files)}" if files else "it holds none"
        raise UserError(f"{folder.parent} has no {what} of step {step}; {have}.")
    return files[step]


def parquet(path: Path, columns: list[str] | None) -> pyarrow.Table:
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            return pyarrow.parquet.read_table(file, columns=columns)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None


def numbered(folder: Path, regex: str) -> dict[int, Path]:
    """The entries of a folder whose names are a pattern around a number, by that number."""
    entries = folder.iterdir() if folder.is_dir() else []
    return {int(match[1]): entry for entry in entries if (match := re.fullmatch(regex, entry.name))}


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"The file {path} is missing, so {path.parent} is no whole run folder.") from None
    except OSError as error:
        raise UserError(f"The file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"The file {path} is damaged: {error}.") from None
    if not isinstance(value, dict):
        raise UserError(f"The file {path} is damaged: it must hold one JSON object.")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file. A last line without its end is still being written, and is left out."""
    try:
        *whole, torn = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"The file {path} cannot be read: {error.strerror}.") from None
    rows = [parse_row(line, path, number) for number, line in enumerate(whole, 1)]
    try:
        return [*rows, parse_row(torn, path, len(whole) + 1)]
    except UserError:
        return rows


def parse_row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Line {number} of {path} is damaged: {error}.") from None
    if not isinstance(row, dict) or type(row.get("step")) is not int or abs(row["step"]) >= LARGEST:
        raise UserError(f"Line {number} of {path} is damaged: it must be a JSON object with a whole number as step.")
    for name, value in row.items():
        if not (value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < HUGE)):
            raise UserError(f"Line {number} of {path} is damaged: {name} is {repr(value)[:80]}, not a number.")
    return row


def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows as arrays: a name that a row lacks, and a null, are NaN. `step` is a whole number."""
    names = dict.fromkeys(name for row in rows for name in row)
    arrays = {name: np.array([row.get(name) for row in rows], dtype=np.float64) for name in names}
    return {**arrays, "step": np.array([row["step"] for row in rows], dtype=np.int64)}
