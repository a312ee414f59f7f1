"""Token dumps of prime-rl and slime under the microscope: which files a step has, and what follows from its records."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isotherm.errors import UserError
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.policy.model import model_folder
from isotherm.policy.text import load_tokenizer
from isotherm.records import Tokens
from isotherm.report.dump_records import Record, prime_rl, slime
from isotherm.report.inspected import choose
from isotherm.report.specimen import KINDS, Quantity, Specimen, words
from isotherm.tokens.entropy_change import published, quadrants


def is_dump(path: Path) -> bool:
    """Whether a path is a dump of either kind, by its names alone."""
    return bool(exports(path) or torch_files(path))


def files_of(path: Path) -> list[Path]:
    """The files of a dump."""
    return [file for steps in (exports(path), torch_files(path)) for files in steps.values() for file in files]


def of_dump(path: Path, step: int | None, model: str = "") -> Specimen:
    """The responses of one step of a dump."""
    found = exports(path)
    steps, read = (found, prime_rl) if found else (torch_files(path), slime)
    step = choose(step, steps, path)
    records = [record for file in steps[step] for record in read(file)]
    if not any(record.ids for record in records):
        raise UserError(f"{path} has no response token in step {step}.")
    tool = "prime-rl" if found else "slime"
    return specimen(f"{path.name}, {tool}, step {step}", records, model)


def exports(path: Path) -> dict[int, list[Path]]:
    """prime-rl's files by step: of an output folder, its token_exports, one step, or one file."""
    if path.suffix == ".jsonl" and path.is_file():
        return {step_of(path.parent.name): [path]}
    if re.fullmatch(r"step_\d+", path.name):
        files = sorted(path.glob("rank_*.jsonl"))
        return {step_of(path.name): files} if files else {}
    root = path / "token_exports" if (path / "token_exports").is_dir() else path
    steps = {step_of(p.name): sorted(p.glob("rank_*.jsonl")) for p in root.glob("step_*") if step_of(p.name) >= 0}
    return {step: files for step, files in steps.items() if files}


def step_of(name: str) -> int:
    match = re.fullmatch(r"step_(\d{1,15})", name)
    return int(match[1]) if match else -1


def torch_files(path: Path) -> dict[int, list[Path]]:
    """slime's files by the first number of their name, the rollout; what follows is the rank."""
    files = [path] if path.suffix == ".pt" and path.is_file() else sorted(path.glob("*.pt"))
    steps: dict[int, list[Path]] = {}
    for file in files:
        number = re.search(r"\d{1,15}", file.stem)
        steps.setdefault(int(number[0]) if number else 0, []).append(file)
    return steps


def specimen(title: str, records: list[Record], model: str) -> Specimen:
    """Records as a specimen: responses to equal prompts are a group."""
    records = [record for record in records if record.ids]
    prompts = list(dict.fromkeys(record.prompt for record in records))
    number = {prompt: i for i, prompt in enumerate(prompts)}
    records.sort(key=lambda record: number[record.prompt])
    group = np.array([number[record.prompt] for record in records])
    sample = np.arange(len(group)) - np.searchsorted(group, group)
    column = {name: np.concatenate([r.columns[name] for r in records]) for name in records[0].columns}
    ids = np.concatenate([np.array(record.ids) for record in records])
    quantities, quadrant = derived(column)
    tokenizer = load_tokenizer(model_folder(model)) if model else None
    show = tokenizer.decode if tokenizer else lambda x: " ".join(map(str, x))
    first = [records[int(i)] for i in np.searchsorted(group, np.arange(len(prompts)))]
    return Specimen(
        title=title,
        notes=notes(quantities, bool(model)),
        prompts=[show(list(prompt)) for prompt in prompts], families=[record.family for record in first],
        group=group, sample=sample, length=np.array([len(r.ids) for r in records]),
        reward=np.array([r.reward for r in records]), verdicts=None,
        ids=ids, words=words(tokenizer, np.unique(ids).tolist()) if tokenizer else {},
        quadrant=quadrant, quantities=quantities,
    )  # fmt: skip


def derived(column: dict[str, np.ndarray]) -> tuple[list[Quantity], np.ndarray | None]:
    """What follows from the columns, over the tokens that have them all; nothing stands for what a dump lacks."""
    has = {name: np.isfinite(x).any() for name, x in column.items()}
    values = {name: column[name] for name in ("entropy", "advantage", "weight") if has[name]}
    if has["logprob"]:
        values["surprisal"] = -column["logprob"]
    quadrant = None
    if has["logprob"] and has["advantage"]:
        values["covariance"] = placed(column, ("logprob", "advantage"), covariance)
        if has["entropy"]:
            names = ("logprob", "advantage", "entropy")
            values["published"] = placed(column, names, lambda tokens: published(tokens, tokens.advantage))
            signs = placed(column, names, lambda tokens: quadrants(tokens, "published"))
            quadrant = np.nan_to_num(signs).astype(np.int64)
    return [Quantity(name, KINDS[name], values[name]) for name in KINDS if name in values], quadrant


def placed(column: dict[str, np.ndarray], names: tuple[str, ...], part: Any) -> np.ndarray:
    """A part's values where all of the named columns are known."""
    known = np.all([np.isfinite(column[name]) for name in names], axis=0)
    result = np.full(len(known), np.nan)
    result[known] = part(as_tokens({name: x[known] for name, x in column.items()})).double().numpy()
    return result


def as_tokens(column: dict[str, np.ndarray]) -> Tokens:
    """The columns as the mathematics reads them; the moments, which no dump has, are NaN."""
    logprob, entropy, advantage = (torch.from_numpy(column[name]) for name in ("logprob", "entropy", "advantage"))
    nothing, number = torch.full_like(logprob, math.nan), torch.arange(len(logprob))
    return Tokens(
        logprob=logprob, entropy=entropy, s2=nothing, s2l=nothing, old_logprob=logprob, sampler_logprob=logprob,
        advantage=advantage, sequence=number, group=number, position=number, key=number,
    )  # fmt: skip


def notes(quantities: list[Quantity], spelled: bool) -> list[str]:
    """What a reader must know, and what the dump lacks."""
    have = {quantity.name for quantity in quantities}
    lacking = [name for name in ("entropy", "surprisal", "advantage") if name not in have]
    found = ["Responses to equal prompts are a group. The mean of the covariance is over all tokens of the step."]
    if lacking:
        found.append(f"The dump has no {' and no '.join(lacking)}, so that what needs it is not offered.")
    if "weight" in have:
        found.append("The weight is 0 where prime-rl masked a token (is_masked), else 1.")
    if "published" in have:
        found.append("No dump has S2 and S2L, so the predicted change and the quadrants are those of 2510.10150.")
    return found if spelled else [*found, "Tokens are shown as numbers; --model FOLDER names their tokenizer."]
