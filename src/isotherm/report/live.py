"""Live progress of one run: a display in a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

SHOWN = {"entropy": ("entropy/exact", ".3f"), "reward": ("reward/mean", ".2f"), "pass@1": ("pass@1/train", ".2f")}
BLOCKS = "▁▂▃▄▅▆▇█"
LINE_EVERY = 5.0  # seconds between plain lines
RECENT = 20  # steps that the time left is reckoned from


def sparkline(values: list[float], width: int = 32, top: float = 0.0) -> str:
    """The values as blocks from 0 to `top`, or to their largest; each block is the mean of a stretch."""
    finite = np.array([v for v in values if math.isfinite(v)])
    if not len(finite):
        return ""
    means = np.array([part.mean() for part in np.array_split(finite, min(width, len(finite)))])
    heights = 8 * means.clip(0) / max(top, means.max(), 1e-12)
    return "".join(BLOCKS[min(7, int(height))] for height in heights)


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def speed(per_second: float) -> str:
    return f"{per_second / 1000:.1f}k tok/s" if per_second >= 1000 else f"{per_second:.0f} tok/s"


def terminal() -> bool:
    """Whether standard output can be redrawn."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "")


class Progress:
    """What is known of a run so far; both displays are drawn from it."""

    def __init__(self, total: int | None = None) -> None:
        self.total, self.step = total, 0
        self.values: dict[str, float] = {}
        self.entropies: list[float] = []
        self.seconds: dict[int, float] = {}
        self.tokens_per_second = math.nan

    def add_row(self, row: Mapping[str, Any]) -> None:
        """A row of metrics. What it lacks keeps its last value."""
        self.step = int(row.get("step", self.step))
        self.values |= {name: row[key] for name, (key, _) in SHOWN.items() if row.get(key) is not None}
        if row.get("entropy/exact") is not None:
            self.entropies.append(float(row["entropy/exact"]))

    def add_timing(self, step: int, timing: Mapping[str, Any]) -> None:
        if timing.get("seconds") is not None:
            self.seconds[step] = float(timing["seconds"])
        if timing.get("tokens_per_second"):
            self.tokens_per_second = float(timing["tokens_per_second"])

    def left(self) -> float:
        """Seconds to the last step, at the mean pace of the recent steps."""
        recent = list(self.seconds.values())[-RECENT:]
        steps = (self.total or 0) - self.step
        return steps * sum(recent) / len(recent) if recent and self.total else math.nan

    def shown(self, name: str) -> str:
        return f"{self.values[name]:{SHOWN[name][1]}}" if name in self.values else "–"

    def facts(self) -> list[str]:
        """entropy 0.213, reward 0.31, pass@1 0.31, 21.3k tok/s, 12 s left: those that are known."""
        facts = [f"{name} {self.shown(name)}" for name in SHOWN if name in self.values]
        facts += [speed(self.tokens_per_second)] if math.isfinite(self.tokens_per_second) else []
        return facts + ([f"{duration(self.left())} left"] if self.left() > 0 else [])

    def line(self) -> str:
        """One complete line, the same words in the same order each time."""
        return "  ".join([f"step {self.step}/{self.total or '?'}", *self.facts()])

    def tenth(self) -> int:
        return 10 * self.step // self.total if self.total else 0


class Pacer:
    """Decides when a plain line is due: at the first and the last step, every tenth, and after LINE_EVERY seconds."""

    def __init__(self) -> None:
        self.time, self.tenth = -math.inf, -1

    def due(self, progress: Progress) -> bool:
        now = time.monotonic()
        last = progress.step == progress.total
        if not (last or progress.tenth() > self.tenth or now - self.time >= LINE_EVERY):
            return False
        self.time, self.tenth = now, progress.tenth()
        return True


class Live:
    """Shows a run while it trains: `with Live(steps, title) as live: live.update(step, row, timing)`."""

    def __init__(self, total: int, title: str, plain: bool | None = None) -> None:
        self.progress, self.title, self.pacer = Progress(total), title, Pacer()
        self.plain = not terminal() if plain is None else plain
        self.display: Any = None

    def __enter__(self) -> Live:
        if self.plain:
            print(self.title, flush=True)
        else:
            from rich.live import Live as Display

            self.display = Display(self.panel(), refresh_per_second=8)
            self.display.__enter__()
        return self

    def update(self, step: int, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        """Take in a finished step."""
        self.progress.add_row({**row, "step": step})
        self.progress.add_timing(step, timing or {})
        if self.display is not None:
            self.display.update(self.panel())
        elif self.pacer.due(self.progress):
            print(self.progress.line(), flush=True)

    def panel(self):
        from isotherm.report.watch import panel

        return panel(self.progress, self.title)

    def __exit__(self, *error: object) -> None:
        if self.display is not None:
            self.display.__exit__(*error)
