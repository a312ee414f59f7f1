"""prime-rl's token exports: one JSON line per sequence, with the exact entropy of every token."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from isotherm.measure.logs.gather import Gathered, parsed_object
from isotherm.measure.logs.json_lines import blocks, said
from isotherm.measure.logs.places import Place, shared
from isotherm.measure.logs.record import Log, assemble

FORMAT, SCHEMA = "token export", 1
# what the tool's own metrics call the means over trained tokens of these columns
NAMES = {"entropy": "entropy/all/mean", "mismatch_kl": "mismatch_kl/all/mean", "is_masked": "is_masked/mean"}


def reads(place: Place) -> bool:
    head = place.text.lstrip()[:4096]
    return head.startswith("{") and all(f'"{name}"' in head for name in ("schema_version", "token_ids", "step"))


def read(found: list[Place], run: str) -> Log:
    """Means over the trained tokens of all ranks, step by step."""
    sums: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    bad: list[tuple[int, bool]] = []
    schemas: set[object] = set()
    for place in found:
        for block, last in blocks(place.path):
            for i, line in enumerate(block.split(b"\n"), 1):
                row = parsed_object(line) if line.strip() else {}
                if row is None or (row and not add(row, sums)):
                    bad.append((i, last))
                elif row:
                    schemas.add(row.get("schema_version"))
    gathered = Gathered()
    for name in NAMES:
        steps = sorted(step for key, step in sums if key == name)
        values = [sums[name, step][0] / sums[name, step][1] for step in steps]
        gathered.points(NAMES[name], np.array(steps, np.int64), np.array(values, np.float64))
    lengths = sorted(step for key, step in sums if key == "length")
    means = [sums["length", step][0] / sums["length", step][1] for step in lengths]
    gathered.points("seq_len/all/mean", np.array(lengths, np.int64), np.array(means))
    notes = [*said(bad), "Means are over the tokens with loss_mask; lengths are trained tokens per sequence."]
    if schemas - {SCHEMA}:
        notes.append(f"schema_version {schemas - {SCHEMA}} is not the one that is known here, {SCHEMA}.")
    return assemble(gathered, shared(found), FORMAT, "prime-rl", notes=notes)


def add(row: dict[str, object], sums: dict[tuple[str, int], list[float]]) -> bool:
    """Adds a sequence to the sums over tokens; False where its columns do not fit."""
    step, mask = row.get("step"), row.get("loss_mask")
    if not isinstance(step, int) or isinstance(step, bool) or not isinstance(mask, list) or abs(step) >= 2**53:
        return False
    keep = np.array([m is True for m in mask], bool)
    for name in NAMES:
        column = row.get(name)
        if not isinstance(column, list) or len(column) != len(mask):
            return False
        try:
            values = np.array(column, np.float64)[keep]
        except (TypeError, ValueError, OverflowError):
            return False
        there = np.isfinite(values)
        if there.any():
            sums[name, step][0] += float(values[there].sum())
            sums[name, step][1] += int(there.sum())
    if keep.any():
        sums["length", step][0] += int(keep.sum())
        sums["length", step][1] += 1
    return True
