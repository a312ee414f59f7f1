"""A short run whose every number is stored. `make golden` renews it, for a change of numerics that is meant."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_name("trajectory.json")
METHOD = (
    "clip_higher(low=0.02, high=0.03) + par(schedule=guided, target=3.0, delta=0.2) + kl_cov(k=0.01) "
    "+ entropy_bonus(c=0.01)"
)


def settings(folder: Path) -> dict[str, Any]:
    """Untrained answers of twelve characters, of which some end with the digit asked for."""
    from models import tiny_model

    data = folder / "digits.jsonl"
    rows = [{"prompt": f"{word}={i % 10}", "answer": i % 10} for i, word in enumerate(WORDS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": str(tiny_model(folder)), "data": str(data), "held_out": "", "eval_problems": 0, "steps": 5,
        "prompts": 8, "group": 16, "max_new": 12, "updates": 2, "method": METHOD,
        "lr": 1e-2, "schedule": "cosine", "temperature": 0.9, "epsilon": 1e-6,
        "dtype": "float32", "threads": 1, "overlong": "soft", "overlong_buffer": 4,
    }  # fmt: skip


WORDS = [a + b for a in "abcdef" for b in "uvwxyz"]


def trajectory(folder: Path, **changes: Any) -> dict[str, list[float | None]]:
    """Every metric by step; None where a step does not have it."""
    import isotherm

    run = isotherm.train(**settings(folder), out=str(folder / "run"), quiet=True, **changes)
    return {name: [float(x) if x == x else None for x in values] for name, values in sorted(run.metrics.items())}


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    with tempfile.TemporaryDirectory() as folder:
        found = trajectory(Path(folder))
    lines = [f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in found.items()]
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{STORED}: {len(found)} metrics of {len(found['step'])} steps")


if __name__ == "__main__":
    main()
