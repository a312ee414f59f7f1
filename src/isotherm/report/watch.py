"""Several runs side by side, read from the files they write."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isotherm.report.live import Pacer, Progress, duration, sparkline, speed, terminal

POLL = 0.25  # seconds
TINTS = ("bright_blue", "dark_orange", "bright_green", "magenta", "yellow", "cyan")


class Tail:
    """The complete lines that were added to a JSON-lines file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def rows(self) -> list[dict[str, Any]]:
        """New rows. A line without its end waits for the next look; a file that shrank is read anew."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            if file.seek(0, 2) < self.offset:
                self.offset = 0
            file.seek(self.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [row for line in whole.splitlines() if isinstance(row := parse(line), dict)]


def parse(line: bytes) -> Any:
    """The value of a line, or None for one that is damaged: the display goes on, load_run names it."""
    try:
        return json.loads(line)
    except ValueError:
        return None


class Arm:
    """One run folder being watched."""

    def __init__(self, folder: Path, title: str) -> None:
        self.folder, self.title, self.pacer = folder, title, Pacer()
        self.metrics, self.timings = Tail(folder / "metrics.jsonl"), Tail(folder / "timings.jsonl")
        self.progress = Progress()

    def poll(self) -> bool:
        """Read what is new; whether there was anything."""
        config = parse(path.read_bytes()) if (path := self.folder / "config.json").is_file() else None
        if isinstance(config, dict):
            self.progress.total = config.get("steps")
        rows = self.metrics.rows()
        for row in rows:
            self.progress.add_row(row)
        for timing in self.timings.rows():
            self.progress.add_timing(int(timing.get("step", 0)), timing)
        return bool(rows)


def watch(folders: Sequence[Path], titles: Sequence[str], processes: Sequence[subprocess.Popen]) -> None:
    """Show the runs in these folders until all their processes have ended."""
    arms = [Arm(Path(folder), title) for folder, title in zip(folders, titles, strict=True)]
    show = watch_terminal if terminal() else watch_plain
    show(arms, processes)


def running(processes: Sequence[subprocess.Popen]) -> bool:
    return any(process.poll() is None for process in processes)


def watch_plain(arms: list[Arm], processes: Sequence[subprocess.Popen]) -> None:
    """Lines that begin with the title of their run."""
    wide = max(len(arm.title) for arm in arms)
    going = True
    while going:
        going = running(processes)
        for arm in arms:
            if arm.poll() and arm.pacer.due(arm.progress):
                print(f"{arm.title:{wide}}  {arm.progress.line()}", flush=True)
        if going:
            time.sleep(POLL)


def watch_terminal(arms: list[Arm], processes: Sequence[subprocess.Popen]) -> None:
    from rich.live import Live

    with Live(side_by_side(arms), refresh_per_second=8) as display:
        going = True
        while going:
            going = running(processes)
            for arm in arms:
                arm.poll()
            display.update(side_by_side(arms))
            if going:
                time.sleep(POLL)


def side_by_side(arms: list[Arm]):
    from rich.table import Table

    grid = Table.grid(expand=True, padding=(0, 1))
    for _ in arms:
        grid.add_column(ratio=1)
    top = max((max(arm.progress.entropies, default=0.0) for arm in arms), default=0.0)
    grid.add_row(*(panel(a.progress, a.title, TINTS[i % len(TINTS)], top) for i, a in enumerate(arms)))
    return grid


def panel(progress: Progress, title: str, tint: str = "bright_blue", top: float = 0.0):
    """One run in a frame: bar and time left, step and pace, accuracy, and entropy as a curve from 0 to `top`."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    pace = progress.tokens_per_second
    steps = {"step": f"{progress.step}/{progress.total or '?'}", "": speed(pace) if pace == pace else ""}
    accuracy = {name: progress.shown(name) for name in ("reward", "pass@1")}
    curve = Curve(progress.entropies, progress.shown("entropy"), tint, top)
    body = Group(bar(progress, tint), numbers(steps), numbers(accuracy), curve)
    return Panel(body, title=Text(title, style=f"bold {tint}"), title_align="left", border_style="dim", padding=(0, 1))


def bar(progress: Progress, tint: str):
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    left = progress.left()
    line = Table.grid(expand=True, padding=(0, 0, 0, 1))
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    shown = ProgressBar(progress.total or 1, progress.step, complete_style=tint, finished_style=tint)
    done = "done" if progress.step == progress.total else "starting"
    line.add_row(shown, f"{duration(left)} left" if left > 0 else done)
    return line


def numbers(values: dict[str, str]):
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    for name, value in values.items():
        text.append(f"{name} " if name else "", "dim").append(f"{value}  ", "bold")
    return text


class Curve:
    """The entropy of a run: its last value, and a curve as wide as there is room for."""

    def __init__(self, values: list[float], last: str, tint: str, top: float) -> None:
        self.values, self.last, self.tint, self.top = values, last, tint, top

    def __rich_console__(self, console, options):
        from rich.text import Text

        label = f"{self.last}  "
        width = max(4, min(60, options.max_width - len(label) - len("entropy ")))
        yield Text.assemble(("entropy ", "dim"), (label, "bold"), (sparkline(self.values, width, self.top), self.tint))
