"""Responses out of the token dumps of other trainers: prime-rl's token exports and slime's debug train data.

prime-rl: `trainer.enable_token_export`, <out>/token_exports/step_N/rank_R.jsonl, a record per sequence (schema 1).
slime: `--save-debug-train-data 'p_{rollout_id}.pt'`, a torch file. It is read with `weights_only=True`, which builds
tensors, numbers, text, lists and dictionaries and calls nothing; whatever else a file asks for is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from isotherm.errors import UserError

SCHEMA = 1
LARGEST = 4 << 30  # bytes of one file


class Record(NamedTuple):
    """One response of a dump. A number that is not known is NaN; columns have one entry per response token."""

    prompt: tuple[int, ...]
    ids: list[int]
    family: str
    reward: float
    columns: dict[str, np.ndarray]  # logprob, entropy, advantage, weight


def prime_rl(path: Path) -> Iterator[Record]:
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


def slime(path: Path) -> Iterator[Record]:
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
