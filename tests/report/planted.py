"""Logs with the law planted in them, as a framework would write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

A, B, START, FLOOR, TAU = 0.4, 1.05, 0.9, 0.12, 40.0


def columns(rows: int = 120, seed: int = 0) -> dict[str, np.ndarray]:
    """R = -.4 e^H + 1.05, H from .9 to .12 nats with a time constant of 40 steps; drivers that do not matter."""
    random = np.random.default_rng(seed)
    t = np.arange(1, rows + 1)
    entropy = FLOOR + (START - FLOOR) * np.exp(-(t - 1) / TAU)
    return {
        "step": t,
        "actor/entropy": entropy * (1 + random.normal(0, 0.03, rows)),
        "critic/score/mean": B - A * np.exp(entropy) + random.normal(0, 0.01, rows),
        "actor/pg_clipfrac": random.uniform(0.001, 0.003, rows),
        "actor/grad_norm": random.uniform(0.5, 1.5, rows),
        "actor/lr": np.full(rows, 1e-6),
    }


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(found, values, strict=True)) for values in zip(*(list(x) for x in found.values()), strict=True)]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, default=float) + "\n" for row in rows))
    return path


def planted(path: Path, rows: int = 120) -> Path:
    """A log of verl, as its file logger writes it."""
    return written(path, rows_of(columns(rows)))
