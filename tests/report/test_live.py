"""Live progress: plain lines, a terminal's display, and several runs watched together."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from folders import make_run
from rich.console import Console

from isotherm.report import live, watch
from isotherm.report.live import Live, Progress, duration, sparkline

ROW = {"entropy/exact": 0.2134, "reward/mean": 0.311, "pass@1/train": 0.3125}
TIMING = {"seconds": 0.2, "tokens_per_second": 21345.0}


def plain_lines(capsys, steps: int) -> list[str]:
    with Live(steps, "grpo", plain=True) as shown:
        for step in range(1, steps + 1):
            shown.update(step, ROW, TIMING)
    return capsys.readouterr().out.splitlines()


def test_a_plain_line_is_complete(capsys):
    title, *lines = plain_lines(capsys, 100)
    assert title == "grpo"
    assert lines[4] == "step 40/100  entropy 0.213  reward 0.31  pass@1 0.31  21.3k tok/s  12 s left"
    assert lines[-1] == "step 100/100  entropy 0.213  reward 0.31  pass@1 0.31  21.3k tok/s"
    assert [line.split()[1] for line in lines[:3]] == ["1/100", "10/100", "20/100"]
    assert len(lines) == 11


def test_slow_steps_get_a_line_every_five_seconds(capsys, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(live.time, "monotonic", lambda: next(clock))
    assert len(plain_lines(capsys, 1000)) == pytest.approx(200, abs=12)


def test_a_row_without_values_keeps_the_last_ones():
    progress = Progress(10)
    progress.add_row({"step": 1, **ROW})
    progress.add_row({"step": 2, "entropy/exact": None})
    assert progress.line() == "step 2/10  entropy 0.213  reward 0.31  pass@1 0.31"


@pytest.mark.parametrize(("seconds", "text"), [(12.2, "12 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_sparkline_starts_at_zero():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.5, 1.0], top=2.0) == "▃▅"
    assert len(sparkline([1.0] * 1000, 32)) == 32
    assert sparkline([]) == sparkline([float("nan")]) == ""


def rendered(item, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(item)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_frame_shows_everything_at_any_width(width):
    progress = Progress(100)
    for step in range(1, 41):
        progress.add_row({"step": step, **ROW, "entropy/exact": 1 / step})
        progress.add_timing(step, TIMING)
    text = rendered(watch.panel(progress, "grpo"), width)
    for part in ("grpo", "step 40/100", "12 s left", "21.3k tok/s", "reward 0.31", "pass@1 0.31", "entropy 0.025", "█"):
        assert part in text
    assert all(len(line) <= width for line in text.splitlines())


def test_the_terminal_display_starts_and_ends():
    with Live(2, "grpo", plain=False) as shown:
        shown.update(1, ROW, TIMING)
        shown.update(2, ROW)
    assert not shown.display.is_started


def test_tail_waits_for_the_end_of_a_line_and_survives_damage(tmp_path):
    path = tmp_path / "m.jsonl"
    tail = watch.Tail(path)
    assert tail.rows() == []
    path.write_text('{"step": 1}\n{"st')
    assert tail.rows() == [{"step": 1}]
    path.write_text('{"step": 1}\n{"step": 2}\n}{\n{"step": 3}\n')
    assert tail.rows() == [{"step": 2}, {"step": 3}]
    path.write_text('{"step": 1}\n')
    assert tail.rows() == [{"step": 1}]


def test_watch_ends_with_its_processes_and_shows_all_arms(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(watch, "POLL", 0.01)
    folder = tmp_path / "late"
    code = (
        "import json, pathlib, sys, time; folder = pathlib.Path(sys.argv[1]); time.sleep(0.1); folder.mkdir()\n"
        "(folder / 'config.json').write_text(json.dumps({'steps': 3}))\n"
        "with (folder / 'metrics.jsonl').open('w') as file:\n"
        "    file.write(json.dumps({'step': 3, 'entropy/exact': 0.5}) + '\\n')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    watch.watch([make_run(tmp_path / "a", steps=4), folder, tmp_path / "none"], ["grpo", "grpo + par", "x"], [process])
    assert process.returncode == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("grpo        step 4/4  entropy 0.") for line in lines)
    assert lines[-1] == "grpo + par  step 3/3  entropy 0.500"


def test_side_by_side_curves_share_their_scale(tmp_path):
    arms = [watch.Arm(make_run(tmp_path / str(i), floor=floor), f"run{i}") for i, floor in enumerate((0.05, 0.3))]
    for arm in arms:
        assert arm.poll()
    assert json.loads((tmp_path / "0" / "config.json").read_text())["steps"] == arms[0].progress.total
    first, second = rendered(watch.side_by_side(arms), 100).splitlines()[4].split("│ │")
    assert "▂" in first
    assert "▂" not in second
