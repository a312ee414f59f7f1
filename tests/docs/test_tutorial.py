"""docs/tutorial.md, executed from the first line to the last."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import isotherm

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def executed(command: list[str], folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tutorial_runs(tmp_path):
    said = []
    for kind, text in BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")):
        name = re.match(r"# (\w+\.py)\n", text)
        if name:
            (tmp_path / name[1]).write_text(text)
        elif kind == "python":
            said.append(executed([sys.executable, "-c", text], tmp_path))
        else:
            said += [executed([sys.executable, "-m", *line.split()], tmp_path) for line in text.splitlines()]
    compared, page, again = said
    assert re.fullmatch(r"grpo-seed0: entropy \d.*\nsurprise\(c=2\.0\)-seed0: entropy \d.*\n", compared)
    assert page == "report.html\n"
    assert "surprise(c=2.0)" in (tmp_path / "report.html").read_text()
    assert "finished already, with 4 steps" in again
    runs = [isotherm.load_run(tmp_path / "runs" / name) for name in ("grpo", "surprise")]
    assert runs[0].metrics["reward/mean"][0] == runs[1].metrics["reward/mean"][0]  # one seed, one first rollout
    assert runs[0].metrics["update/grad_norm"][0] != runs[1].metrics["update/grad_norm"][0]
    assert "1 + c * (1 - tokens.logprob.exp())" in (runs[1].path / "method.py").read_text()


def test_the_method_has_ten_lines_at_most():
    text = BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))[0][1]
    method = text[text.index("@isotherm.reads") : text.index("def config")]
    assert len([line for line in method.splitlines() if line.strip()]) <= 10
