"""Token dumps of other trainers, under the microscope: prime-rl's token exports and slime's debug train data.

prime-rl: `trainer.enable_token_export`, <out>/token_exports/step_N/rank_R.jsonl, a record per sequence (schema 1).
slime: `--save-debug-train-data 'p_{rollout_id}.pt'`, a torch file. It is read with `weights_only=True`, which builds
tensors, numbers, text, lists and dictionaries and calls nothing; whatever else a file asks for is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from isotherm.errors import UserError
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.policy.model import model_folder
from isotherm.policy.text import load_tokenizer
from isotherm.records import Tokens
from isotherm.report.inspected import choose
from isotherm.report.specimen import KINDS, Quantity, Specimen, words
from isotherm.tokens.entropy_change import published, quadrants

SCHEMA = 1
LARGEST = 4 << 30  # bytes of one file


class Record(NamedTuple):
    """One response of a dump. A number that is not known is NaN; columns have one entry per response token."""

    prompt: tuple[int, ...]
    ids: list[int]
    family: str
    reward: float
    columns: dict[str, np.ndarray]  # logprob, entropy, advantage, weight


def is_dump(path: Path) -> bool:
    """Whether a path is a dump of either kind, by its names alone."""
    return bool(exports(path) or torch_files(path))


def of_dump(path: Path, step: int | None, model: str = "") -> Specimen:
    """The responses of one step of a dump."""
    found = exports(path)
    steps, read = (found, prime_rl) if found else (torch_files(path), slime)
    step = choose(step, steps, path)
    records = [record for file in steps[step] for record in read(file, step)]
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


def prime_rl(path: Path, step: int) -> Iterator[Record]:
    """The sequences of one rank. Numbers at place i belong to token i."""
    small(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield exported(json.loads(line))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
                raise UserError(f"Line {number} of {path} is no token export: {said(error)}.") from None


def exported(row: dict[str, Any]) -> Record:
    """The response goes from the first token that the loss sees to the last; what it skips between has no numbers."""
    if row["schema_version"] != SCHEMA:
        raise ValueError(f"its schema is {row['schema_version']!r}, and {SCHEMA} is read here")
    ids, mask = whole(row["token_ids"]), np.array(row["loss_mask"], dtype=bool)
    places = np.flatnonzero(mask)
    start, stop = (places[0], places[-1] + 1) if len(places) else (len(ids), len(ids))
    sources = {"logprob": "trainer_logprobs", "entropy": "entropy", "advantage": "advantages"}
    columns = {name: floats(row.get(key), len(ids), key) for name, key in sources.items()}
    columns["weight"] = 1.0 - floats(row.get("is_masked"), len(ids), "is_masked")
    if len(mask) != len(ids):
        raise ValueError(f"loss_mask has {len(mask)} entries for {len(ids)} tokens")
    cut = {name: np.where(mask, x, np.nan)[start:stop] for name, x in columns.items()}
    rewards = floats(row.get("rewards"), len(ids), "rewards")[start:stop]
    reward = float(rewards[0]) if len(rewards) else math.nan
    return Record(tuple(ids[:start]), ids[start:stop], str(row.get("env_name") or ""), reward, cut)


def slime(path: Path, step: int) -> Iterator[Record]:
    """The responses of one rank. `tokens` hold prompt and response; all other columns the response alone."""
    small(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has a class for each way in which a file can be wrong
        raise UserError(
            f"{path} cannot be read as plain tensors, and nothing else is ever loaded ({said(error)[:200]}); where it "
            "was written, keep only what is needed: d = torch.load(FILE, weights_only=False); r = d['rollout_data']; "
            "torch.save({'rollout_data': {k: [torch.as_tensor(x) for x in r[k]] for k in ('tokens', "
            "'response_lengths', 'loss_masks', 'log_probs', 'advantages', 'entropy', 'raw_reward') if k in r}}, FILE)."
        ) from None
    try:
        if not isinstance(content, dict) or not isinstance(data := content["rollout_data"], dict):
            raise TypeError("it holds no rollout_data by name")
        for number in range(len(data["tokens"])):
            yield trained_on(data, number)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} is no debug train data of slime: {said(error)}.") from None


def trained_on(data: dict[str, Any], number: int) -> Record:
    ids, length = whole(data["tokens"][number]), int(data["response_lengths"][number])
    if not 0 <= length <= len(ids):
        raise ValueError(f"response {number} has {length} of {len(ids)} tokens")
    sources = {"logprob": "log_probs", "entropy": "entropy", "advantage": "advantages"}
    columns = {name: floats(entry(data, key, number), length, key) for name, key in sources.items()}
    if (mask := entry(data, "loss_masks", number)) is not None:
        seen = floats(mask, length, "loss_masks") > 0
        columns = {name: np.where(seen, x, np.nan) for name, x in columns.items()}
    count = len(data["tokens"])
    rewards = (data.get(key) for key in ("raw_reward", "rewards"))
    scores = next((r for r in rewards if r is not None and len(r) == count), None)
    reward = math.nan if scores is None else float(scores[number])
    cut = len(ids) - length
    return Record(tuple(ids[:cut]), ids[cut:], "", reward, {**columns, "weight": np.full(length, np.nan)})


def entry(data: dict[str, Any], key: str, number: int) -> Any:
    return data[key][number] if data.get(key) is not None else None


def whole(values: Any) -> list[int]:
    """Token ids, of a list or of a tensor."""
    ids = values.tolist() if isinstance(values, torch.Tensor) else values
    if not isinstance(ids, list) or any(type(i) is not int or not 0 <= i < 2**31 for i in ids):
        raise ValueError("token ids must be whole numbers from 0")
    return ids


def floats(values: Any, count: int, name: str) -> np.ndarray:
    """One number per token; null is NaN, and so is a column that is not there."""
    if values is None:
        return np.full(count, np.nan)
    values = values.detach().double().tolist() if isinstance(values, torch.Tensor) else values
    found = np.array([math.nan if x is None else float(x) for x in values])
    if found.shape != (count,):
        raise ValueError(f"{name} has {len(found)} entries for {count} tokens")
    return found


def small(path: Path) -> None:
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST:,} are read.")


def said(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__} {text}" if isinstance(error, KeyError) else text


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
