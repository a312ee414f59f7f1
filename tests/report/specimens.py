"""Runs and dumps for the microscope, with made-up numbers. The dumps are made by hand, after the sources of both tools.

prime-rl: trainer/rl/token_export.py, schema 1. slime: utils/train_dump_utils.py and the keys of its rollout_data.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from isotherm.records import Problem, Rollout, Verdict
from isotherm.rollout import store
from isotherm.update.config import Config


def make_rollout(step: int = 3, texts: str = "12+3=15") -> Rollout:
    """3 groups of 2 responses; the last group has no signal."""
    random = np.random.default_rng(step)
    length = np.array([4, 2, 3, 5, 1, 2])
    real = np.arange(5) < length[:, None]
    entropy = np.where(real, random.uniform(0.05, 2, real.shape), 0).astype(np.float32)
    logprob = np.where(real, -random.exponential(1, real.shape), 0).astype(np.float32)
    s2 = np.where(real, np.exp(-entropy), 0).astype(np.float32)
    right = [Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSED, Verdict.CORRECT, Verdict.WRONG, Verdict.WRONG]
    families = ("countdown", "chain", "chain")
    return Rollout(
        step=step, problems=[Problem(f, 2, f"k{g}", f"{texts} ({g})", {}) for g, f in enumerate(families)],
        prompts=[[5, 6], [7], [8]], group=np.array([0, 0, 1, 1, 2, 2]), sample=np.array([0, 1, 0, 1, 0, 1]),
        ids=np.where(real, random.integers(3, 99, real.shape), 0), length=length, finished=np.ones(6, bool),
        logprob=logprob, entropy=entropy, s2=s2, s2l=-s2 * entropy, texts=[texts] * 6, verdicts=right,
        reward=np.array([1.0, 0, 0, 1, 0, 0]),
    )  # fmt: skip


def make_run(folder: Path, method: str = "par + kl_cov(k=0.2)", steps: tuple[int, ...] = (3,), **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = dataclasses.asdict(Config(**{"updates": 1, **settings})) | {"method": method}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [{"step": s, "entropy/exact": 0.5, "knob/par.neg": 3.0 if "par" in method else None} for s in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in steps:
        store.save(store.path_of(folder, step), make_rollout(step))
    return folder


def add_measured(folder: Path, rollout: Rollout, keep: np.ndarray, **wrong: np.ndarray) -> np.ndarray:
    """The columns of a run's dynamics file that the microscope reads, in an order of its own; returns its changes."""
    kept = rollout.rows(keep)
    sequence = np.repeat(np.arange(len(kept.length)), kept.length)
    position = np.concatenate([np.arange(n) for n in kept.length])
    change = np.random.default_rng(0).normal(size=len(position)).astype(np.float32)
    columns = {"sequence": sequence, "position": position, "id": kept.ids[sequence, position], "measured": change}
    order = np.random.default_rng(1).permutation(len(change))
    (folder / "dynamics").mkdir()
    table = pa.table({name: x[order] for name, x in (columns | wrong).items()})
    pq.write_table(table, folder / "dynamics" / f"step-{rollout.step:06d}.parquet")
    return change


def export(prompt: list[int], response: list[int], reward: float, **more: Any) -> dict[str, Any]:
    """One record of prime-rl's token export: prompt tokens have numbers too, and are masked."""
    ids, n, start = [*prompt, *response], len(prompt) + len(response), len(prompt)
    numbers = np.random.default_rng(sum(response)).uniform(0.1, 1.5, n)
    return {
        "schema_version": 1, "step": 2, "export_step": 2, "rank": 0, "micro_step": 0, "micro_sequence_idx": 0,
        "export_sequence_idx": 0, "run_id": None, "env_name": "gsm8k", "token_ids": ids, "position_ids": list(range(n)),
        "loss_mask": [i >= start for i in range(n)], "advantages": [2 * reward - 1] * n,
        "losses": [{"rl": {"advantage": 2 * reward - 1, "mask": i >= start}} for i in range(n)],
        "rewards": [reward] * n,
        "inference_logprobs": (-numbers).tolist(), "trainer_logprobs": (-numbers * 1.01).tolist(),
        "entropy": (numbers / 2).tolist(), "mismatch_kl": [1e-4] * n, "log_importance_ratio": [0.01] * n,
        "importance_ratio": [1.01] * n, "prob_delta": [0.0] * n, "is_masked": [i == n - 1 for i in range(n)],
        "is_masked_high": [False] * n, "is_masked_low": [i == n - 1 for i in range(n)], **more,
    }  # fmt: skip


def make_exports(folder: Path) -> Path:
    """<out>/token_exports with steps 1 and 2, the second from two ranks that share a prompt."""
    ranks = {
        (1, 0): [export([1, 2], [9], 0.0)],
        (2, 0): [export([1, 2], [9, 8, 7], 1.0), export([3], [4, 4], 0.0)],
        (2, 1): [export([1, 2], [9, 5], 0.0)],
    }
    for (step, rank), records in ranks.items():
        path = folder / "token_exports" / f"step_{step}" / f"rank_{rank}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        (path.parent / "STABLE").touch()
    return folder


def train_data(**more: Any) -> dict[str, Any]:
    """slime's rollout_data of one rank: tokens with their prompt, every other column of the response alone."""
    data = {
        "tokens": [torch.tensor([1, 2, 9, 8, 7]), torch.tensor([3, 4, 4])], "response_lengths": [3, 2],
        "total_lengths": [5, 3], "loss_masks": [torch.tensor([1, 0, 1]), torch.tensor([1, 1])],
        "rewards": [0.5, -0.5], "raw_reward": [1, 0], "truncated": [0, 0], "sample_indices": [0, 1],
        "log_probs": [torch.tensor([-0.5, -1.0, -0.1]), torch.tensor([-2.0, -0.2])],
        "rollout_log_probs": [torch.tensor([-0.5, -1.0, -0.1]), torch.tensor([-2.0, -0.2])],
        "entropy": [torch.tensor([0.7, 0.9, 0.2]), torch.tensor([1.5, 0.3])],
        "advantages": [torch.full((3,), 0.5), torch.full((2,), -0.5)],
        "returns": [torch.full((3,), 0.5), torch.full((2,), -0.5)], **more,
    }  # fmt: skip
    return {name: x for name, x in data.items() if x is not None}


def make_torch_dump(path: Path, **more: Any) -> Path:
    torch.save({"rollout_id": 4, "rank": 0, "rollout_data": train_data(**more)}, path)
    return path
