"""A step of a run, under the microscope: its stored responses, and what its method made of every token."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isotherm.advantages.history import needs_past
from isotherm.advantages.responses import advantages
from isotherm.advantages.signal import trained
from isotherm.errors import UserError
from isotherm.objective import compose
from isotherm.objective.factors import bare
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.objective.knobs import TEMPERATURE
from isotherm.objective.method import Method, decide
from isotherm.objective.penalties import needs_reference
from isotherm.objective.prediction import changes
from isotherm.policy.model import model_folder
from isotherm.policy.text import load_tokenizer
from isotherm.records import Rollout, Tokens
from isotherm.report.specimen import KINDS, Quantity, Specimen, words
from isotherm.rollout import store
from isotherm.runs import Run, load_run, numbered
from isotherm.tokens.entropy_change import quadrants
from isotherm.tokens.stream import spread, stream
from isotherm.update.config import FIELDS, Config, override
from isotherm.update.loop import mini_batches, wants_reference

AS_SAMPLED = (
    "Entropy and surprisal are the sampler's, at the sampling temperature. What the method decided is decided again "
    "on the mini-batches of the step with these numbers; training had those of the policy as it moved from update to "
    "update. Tokens without a value were not trained on."
)


class View(NamedTuple):
    """What the run knew when it took the step."""

    config: Config
    method: Method
    temperature: float


def of_run(path: str | Path, step: int | None, model: str = "") -> Specimen:
    """The stored rollout of a step, by default the last one."""
    run = load_run(path)
    files = numbered(run.path / "rollouts", r"step-(\d+)\.parquet")
    step = choose(step, files, run.path)
    rollout, config = store.load(files[step]), settings(run)
    if not rollout.length.sum():
        raise UserError(f"{files[step]} has no token to look at.")
    notes: list[str] = []
    view = view_of(run, step, config, notes)
    quantities, quadrant = of_method(rollout, view, notes) if view else (as_drawn(rollout), None)
    quantities += measured(run.path, rollout, config, notes)
    ids = rollout.ids[np.arange(rollout.ids.shape[1]) < rollout.length[:, None]]
    texts = spelled(run, model or config.model, bool(model), np.unique(ids), notes)
    return Specimen(
        title=f"{run.name}, step {step}",
        notes=[AS_SAMPLED if view else "Entropy and surprisal are the sampler's.", *notes],
        prompts=[p.prompt for p in rollout.problems],
        families=[p.family for p in rollout.problems],
        group=rollout.group, sample=rollout.sample, length=rollout.length, reward=rollout.reward,
        verdicts=[v.value for v in rollout.verdicts],
        ids=ids, words=texts, quadrant=quadrant, quantities=quantities,
    )  # fmt: skip


def choose(step: int | None, stored: Any, where: Path) -> int:
    """The step that was asked for, or the last one, among those that are stored."""
    if not stored:
        raise UserError(f"{where} has no stored rollouts; train with --store-every 1 to have one of each step.")
    if step is not None and step not in stored:
        raise UserError(f"{where} has no stored rollout of step {step}; it has {stretches(sorted(stored))}.")
    return max(stored) if step is None else step


def stretches(steps: list[int]) -> str:
    """Numbers with their stretches drawn together.

    >>> stretches([1, 2, 3, 7])
    '1 to 3, 7'
    """
    ends = np.flatnonzero(np.diff(steps, append=steps[-1] + 2) != 1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    parts = [str(steps[a]) if a == b else f"{steps[a]} to {steps[b]}" for a, b in zip(starts, ends, strict=True)]
    return ", ".join(parts if len(parts) <= 20 else [*parts[:19], f"... {parts[-1]}"])


def settings(run: Run) -> Config:
    """The run's settings that this version knows."""
    return override(Config(), {name: value for name, value in run.config.items() if name in FIELDS})


def view_of(run: Run, step: int, config: Config, notes: list[str]) -> View | None:
    """The method with its knobs as they stood in the step; None, and a note, where it is not known here."""
    try:
        method = compose.method(config.method)
    except UserError as error:
        notes.append(f"The method is not known here, so nothing of it is shown: {error}")
        return None
    row = np.flatnonzero(run.metrics["step"] == step)
    knobs = {name[5:]: x[row[0]] for name, x in run.metrics.items() if name.startswith("knob/") and len(row)}
    knobs = {name: float(value) for name, value in knobs.items() if np.isfinite(value)}
    temperature = knobs.pop(TEMPERATURE, config.temperature)
    for name, value in knobs.items():
        method = method.with_knob(name, value)
    return View(config, method, temperature)


def as_drawn(rollout: Rollout) -> list[Quantity]:
    """What the sampler recorded."""
    real = np.arange(rollout.ids.shape[1]) < rollout.length[:, None]
    found = {"entropy": rollout.entropy[real], "surprisal": -rollout.logprob[real]}
    return [Quantity(name, KINDS[name], x.astype(np.float64)) for name, x in found.items()]


def of_method(rollout: Rollout, view: View, notes: list[str]) -> tuple[list[Quantity], np.ndarray]:
    """Every quantity, and the quadrant of every token."""
    if needs_past(view.method.advantage):
        notes.append(
            "Rewards of earlier steps are not looked at, so advantages are those of a first visit to a problem."
        )
    advantage = advantages(view.method.advantage, rollout)
    tokens = stream(rollout, advantage, view.config.seed)
    found = [*as_drawn(rollout), Quantity("advantage", KINDS["advantage"], tokens.advantage.double().numpy())]
    if wants_reference(view.method):
        notes.append("The log-probabilities of the reference are not stored, so what needs them is left out.")
        view = view._replace(method=without_reference(view.method))
    if view.method.functionals:
        notes.append("Functionals of the whole distribution are not stored, so penalties on them are left out.")
        view = view._replace(method=view.method.without_functionals)
    if not any(map(needs_reference, view.method.on_batch)):
        found += [named(name, values) for name, values in decided(rollout, advantage, view).items()]
    return found, quadrants(tokens).numpy()


def without_reference(method: Method) -> Method:
    """The method without the penalties that look at the reference."""
    kept = tuple(p for p in method.penalties if not (needs_reference(p.cost) or needs_reference(p.coefficient)))
    return dataclasses.replace(method, penalties=kept)


def decided(rollout: Rollout, advantage: Tensor, view: View) -> dict[str, np.ndarray]:
    """What the method decides on each mini-batch of the step, NaN for tokens that are in none."""
    config = view.config
    keep = trained(rollout, config.signal, config.overlong)
    kept, at = rollout.rows(keep), np.flatnonzero(spread(keep, rollout.length).numpy())
    tokens = stream(kept, advantage[torch.from_numpy(keep)], config.seed)
    found: dict[str, np.ndarray] = {}
    for _, part in mini_batches(kept, tokens, config.updates, config.seed):
        inside = at[torch.isin(tokens.group, part.group).numpy()]
        for name, values in of_batch(part, view.method, view.temperature).items():
            found.setdefault(name, np.full(rollout.length.sum(), np.nan))[inside] = values.double().numpy()
    return found


def of_batch(tokens: Tokens, method: Method, temperature: float) -> dict[str, Tensor]:
    """What the method decides on an optimizer batch, by the names of KINDS; a penalty has its own after a colon."""
    decision = decide(tokens, method)
    shaped = {"shaped": decision.advantage} if method.shape else {}
    parts = [bare(penalty.coefficient).__name__ for penalty in method.penalties]
    coefficients = [f"coefficient:{part}" + "'" * parts[:i].count(part) for i, part in enumerate(parts)]
    return {
        **shaped,
        "covariance": covariance(tokens),
        "predicted": changes(tokens, method, temperature) * len(tokens),
        "weight": decision.weight,
        **dict(zip(coefficients, decision.penalties, strict=True)),
    }


def named(name: str, values: np.ndarray) -> Quantity:
    kind, _, part = name.partition(":")
    title = f"{KINDS[kind].title} of {part}" if part else KINDS[kind].title
    return Quantity(name, KINDS[kind]._replace(title=title), values)


def measured(folder: Path, rollout: Rollout, config: Config, notes: list[str]) -> list[Quantity]:
    """The measured change of every token, where the run measured this step."""
    path = folder / "dynamics" / f"step-{rollout.step:06d}.parquet"
    if not path.is_file():
        return []
    try:
        values = matched(path, rollout, trained(rollout, config.signal, config.overlong))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        notes.append(f"The measured changes in {path.name} are left out: {' '.join(str(error).split())}.")
        return []
    return [Quantity("measured", KINDS["measured"], values)]


def matched(path: Path, rollout: Rollout, keep: np.ndarray) -> np.ndarray:
    """By response, counted among those that are trained on, and position; the ids must agree."""
    import pyarrow.parquet

    names = ["sequence", "position", "id", "measured"]
    table = pyarrow.parquet.read_table(path, columns=names)
    sequence, position, ids, change = (table[name].to_numpy() for name in names)
    row = np.flatnonzero(keep)[sequence]
    outside = (sequence < 0) | (position < 0) | (position >= rollout.length[row])
    if outside.any() or (rollout.ids[row, position] != ids).any():
        raise ValueError("they are of other responses than those that are stored")
    values = np.full(int(rollout.length.sum()), np.nan)
    values[(np.cumsum(rollout.length) - rollout.length)[row] + position] = change
    return values


def spelled(run: Run, model: str, given: bool, ids: np.ndarray, notes: list[str]) -> dict[int, str]:
    """The text of the tokens, by the tokenizer that was given, else by that of the run or of its first model."""
    folder = model_folder(model) if given or run.checkpoint is None else run.checkpoint
    try:
        return words(load_tokenizer(folder), ids.tolist())
    except UserError as error:
        if given:
            raise
        notes.append(f"Tokens are shown as numbers, for the tokenizer is not there: {error}")
        return {}
