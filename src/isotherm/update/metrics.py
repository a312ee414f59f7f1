"""A rollout and its updates -> one row of metrics, by the names of `measure/catalogue.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from isotherm.advantages.signal import has_signal
from isotherm.records import Rollout, Verdict
from isotherm.update.step import Outcome


def rollout_metrics(rollout: Rollout) -> dict[str, float]:
    """What was sampled: all groups, also those without signal."""
    correct = np.array([v is Verdict.CORRECT for v in rollout.verdicts])
    family = np.array([p.family for p in rollout.problems])[rollout.group]
    tokens, rows = rollout.length.sum(), np.maximum(rollout.length, 1)
    row = {
        "reward/mean": rollout.reward.mean(),
        "pass@1/train": correct.mean(),
        "entropy/exact": rollout.entropy.sum(dtype=np.float64) / tokens,
        "entropy/exact_per_response": (rollout.entropy.sum(1, dtype=np.float64) / rows).mean(),
        "entropy/sampled": -rollout.logprob.sum(dtype=np.float64) / tokens,
        "length/mean": rollout.length.mean(),
        "length/max": rollout.length.max(),
        "length/overlong": 1 - rollout.finished.mean(),
        "signal/groups": has_signal(rollout).mean(),
        "tokens/sampled": tokens,
    }
    row |= {f"pass@1/train/{name}": correct[family == name].mean() for name in np.unique(family)}
    row |= {f"verdict/{v.value}": rollout.verdicts.count(v) / len(rollout.verdicts) for v in Verdict}
    return {name: float(value) for name, value in row.items()}


def update_metrics(outcomes: Sequence[Outcome], skipped: int) -> dict[str, float]:
    """Means over the optimizer steps of this rollout, or their maximum where the name says so."""
    row: dict[str, float] = {"update/count": len(outcomes), "update/skipped": skipped}
    if not outcomes:
        return row
    parts = {name: [getattr(o.telemetry, name) for o in outcomes] for name in outcomes[0].telemetry._fields}
    row["update/loss"] = float(np.mean([o.loss for o in outcomes]))
    row["update/grad_norm"] = float(np.mean([o.grad_norm for o in outcomes]))
    row["update/grad_norm_max"] = max(o.grad_norm for o in outcomes)
    row["update/ratio_max"] = max(parts["ratio_max"])
    mismatch = torch.cat([o.mismatch for o in outcomes])
    row["tokens/trained"] = sum(len(o.tokens) for o in outcomes)
    if len(mismatch):
        row |= {"mismatch/mean": float(mismatch.mean()), "mismatch/max": float(mismatch.max())}
    row |= {f"update/{name}": float(np.mean(parts[name])) for name in ("clip_low", "clip_high", "kl_old")}
    row |= {f"method/{name}": float(np.mean(parts[name])) for name in ("touched", "clamped", "covariance")}
    row |= {name: float(np.mean([o.dynamics[name] for o in outcomes])) for name in outcomes[0].dynamics}
    return row
