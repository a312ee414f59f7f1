"""Rollouts on disk: one Parquet file per step, one row per response."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isotherm.errors import UserError
from isotherm.files import full_disk, write_whole
from isotherm.records import Problem, Rollout, Verdict

if TYPE_CHECKING:  # pyarrow is imported only where a rollout is stored or read
    import pyarrow as pa

WORDS = ["family", "key", "problem", "prompt", "response", "verdict"]  # columns stored with a dictionary


def path_of(folder: str | Path, step: int) -> Path:
    """Where the rollout of `step` lies in the run folder."""
    return Path(folder) / "rollouts" / f"step-{step:06d}.parquet"


def save(path: str | Path, rollout: Rollout) -> None:
    """Writes the file whole; the same rollout gives the same bytes. Problems without a response are left out."""
    import pyarrow as pa

    table = pa.table(columns(rollout), schema=schema())
    write_table(Path(path), table.replace_schema_metadata({"step": str(rollout.step)}), WORDS)


def write_table(path: Path, table: pa.Table, words: list[str]) -> None:
    """A Parquet file that is whole or not there, with a dictionary for the columns `words`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": words, "write_page_checksum": True}
    pq.write_table(table, sink, **options)
    with full_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, sink.getvalue().to_pybytes())


def load(path: str | Path) -> Rollout:
    """The rollout that `save` stored, padded to its longest response."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The stored rollout {path} cannot be read: {' '.join(str(error).split())}.") from None
    if not table.schema.equals(schema()) or b"step" not in (table.schema.metadata or {}):
        raise UserError(f"{path} is no stored rollout; its columns must be {', '.join(schema().names)}.")
    try:
        return assemble(table)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"The stored rollout {path} is inconsistent: {error}.") from None


def schema() -> pa.Schema:
    import pyarrow as pa

    ids, floats, text = pa.list_(pa.int32()), pa.list_(pa.float32()), pa.string()
    return pa.schema(
        {
            "step": pa.int64(), "family": text, "level": pa.int64(), "key": text, "problem": text,
            "prompt": text, "prompt_ids": ids, "group": pa.int64(), "sample": pa.int64(),
            "response": text, "ids": ids, "finished": pa.bool_(), "logprob": floats, "entropy": floats,
            "s2": floats, "s2l": floats, "verdict": text, "reward": pa.float64(),
        }
    )  # fmt: skip


def columns(rollout: Rollout) -> dict[str, Any]:
    """The table's columns; `problem` is the JSON text of the problem's data."""
    problems = [rollout.problems[g] for g in rollout.group]
    data = [json.dumps(p.data, allow_nan=False) for p in rollout.problems]
    return {
        "step": [rollout.step] * len(problems),
        "family": [p.family for p in problems],
        "level": [p.level for p in problems],
        "key": [p.key for p in problems],
        "problem": [data[g] for g in rollout.group],
        "prompt": [p.prompt for p in problems],
        "prompt_ids": [rollout.prompts[g] for g in rollout.group],
        "group": rollout.group,
        "sample": rollout.sample,
        "response": rollout.texts,
        "ids": ragged(rollout.ids, rollout.length, np.int32),
        "finished": rollout.finished,
        "logprob": ragged(rollout.logprob, rollout.length, np.float32),
        "entropy": ragged(rollout.entropy, rollout.length, np.float32),
        "s2": ragged(rollout.s2, rollout.length, np.float32),
        "s2l": ragged(rollout.s2l, rollout.length, np.float32),
        "verdict": [v.value for v in rollout.verdicts],
        "reward": rollout.reward,
    }


def ragged(array: np.ndarray, length: np.ndarray, dtype: type) -> pa.ListArray:
    """The first `length[b]` entries of every row."""
    import pyarrow as pa

    inside = np.arange(array.shape[1]) < length[:, None]
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(array[inside].astype(dtype)))


def padded(lists: pa.ListArray, length: np.ndarray, dtype: type) -> np.ndarray:
    """The inverse of `ragged`, with zeros behind the end."""
    inside = np.arange(length.max(initial=0)) < length[:, None]
    result = np.zeros(inside.shape, dtype)
    result[inside] = lists.flatten().to_numpy(zero_copy_only=False)
    return result


def assemble(table: pa.Table) -> Rollout:
    """The inverse of `columns`. Group numbers close ranks where a problem had no response."""
    import pyarrow.compute as pc

    column = {name: chunks.combine_chunks() for name, chunks in zip(table.column_names, table.columns, strict=True)}
    array = {name: column[name].to_numpy(zero_copy_only=False) for name in ("group", "sample", "finished", "reward")}
    length = pc.list_value_length(column["ids"]).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[attr-defined]
    _, first, group = np.unique(array["group"], return_index=True, return_inverse=True)
    heads = table.take(first).to_pylist()
    return Rollout(
        step=int(table.schema.metadata[b"step"]),
        problems=[Problem(h["family"], h["level"], h["key"], h["prompt"], json.loads(h["problem"])) for h in heads],
        prompts=[h["prompt_ids"] for h in heads],
        group=group.astype(np.int64),
        sample=array["sample"].copy(),
        ids=padded(column["ids"], length, np.int64),
        length=length,
        finished=array["finished"].astype(bool),
        logprob=padded(column["logprob"], length, np.float32),
        entropy=padded(column["entropy"], length, np.float32),
        s2=padded(column["s2"], length, np.float32),
        s2l=padded(column["s2l"], length, np.float32),
        texts=column["response"].to_pylist(),
        verdicts=[Verdict(v) for v in column["verdict"].to_pylist()],
        reward=array["reward"].copy(),
    )
