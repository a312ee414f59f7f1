"""`isotherm forecast` and `isotherm diagnose` from the command line and from Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from folders import make_run
from planted import columns, planted, rows_of, written

import isotherm
from isotherm import cli

SAMPLES = Path(__file__).parent / "measure" / "logs" / "samples"


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in arguments])
    return (code, *capsys.readouterr())


def refused(capsys, *arguments: object) -> str:
    code, out, error = run(capsys, *arguments)
    assert code == 2
    assert not out
    assert error.startswith("isotherm: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", ["forecast", "diagnose"])
def test_writes_what_is_asked_for(capsys, tmp_path, command):
    log = planted(tmp_path / "log.jsonl")
    code, out, error = run(capsys, command, log, "--json", tmp_path / "a.json", "--out", tmp_path / "a.html")
    assert (code, error) == (0, "")
    assert out.startswith("In short\n  Entropy (entropy/exact) went from")
    assert json.loads((tmp_path / "a.json").read_text())["source"]["tool"] == "verl"
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_until_and_share_reach_the_forecast(capsys, tmp_path):
    log = planted(tmp_path / "log.jsonl")
    _, out, _ = run(capsys, "forecast", log, "--until", 500, "--share", 0.5, "--json", tmp_path / "a.json")
    value = json.loads((tmp_path / "a.json").read_text())
    assert value["until"] == {"step": 500, "why": "as asked"}
    assert value["hindcast"]["cut"] == 60
    assert "from its first 50 % (to step 60)" in " ".join(out.split())


def test_a_run_folder_of_ours(capsys, tmp_path):
    folder = make_run(tmp_path / "run")
    code, out, _ = run(capsys, "forecast", folder)
    assert code == 0
    assert "entropy/exact_per_response" in out
    assert "the planned length in the log's settings, 100, is reached" in " ".join(out.split())
    code, out, _ = run(capsys, "diagnose", folder)
    assert code == 0
    assert "isotherm train --method 'kl_cov(" in out


def test_columns_that_only_the_user_knows(capsys, tmp_path):
    rows = [{"n": r["step"], "hh": r["actor/entropy"], "a=b": r["critic/score/mean"]} for r in rows_of(columns())]
    log = written(tmp_path / "log.jsonl", [{"step": row.pop("n"), **row} for row in rows])
    assert "no series that is known" in refused(capsys, "forecast", log)
    meant = ["--column", "hh=entropy/exact", "--column", "a=b=reward/mean"]
    code, out, _ = run(capsys, "forecast", log, *meant)
    assert code == 0
    assert 'entropy/exact, "hh" in the log' in out
    assert isotherm.forecast(log, columns={"hh": "entropy/exact"}).reward is None
    assert "has no numbers in a column 'nothing'" in refused(
        capsys, "forecast", log, *meant, "--column", "nothing=kl/reference"
    )
    assert "cannot mean 'entropy'" in refused(capsys, "forecast", log, "--column", "hh=entropy")
    assert "NAME=MEANING" in refused(capsys, "forecast", log, "--column", "hh")
    assert "cannot mean 'step'" in refused(capsys, "forecast", log, "--column", "hh=step")


def test_a_column_has_one_meaning(capsys, tmp_path):
    (tmp_path / "log.csv").write_text("step,x\n1,0.5\n2,0.4\n")
    two = ("--column", "x=entropy/exact", "--column", "x=reward/mean")
    assert "--column gives 'x' two meanings" in refused(capsys, "forecast", tmp_path / "log.csv", *two)


def test_what_the_user_says_goes_before_the_table(tmp_path):
    rows = [{**row, "other": 2.0 - row["step"] / 200} for row in rows_of(columns())]
    found = isotherm.forecast(written(tmp_path / "log.jsonl", rows), columns={"other": "entropy/exact"})
    assert found.entropy.key == "other"
    assert found.entropy.values[0] == 2.0 - 1 / 200
    assert isotherm.forecast(tmp_path / "log.jsonl").entropy.key == "actor/entropy"


def test_mistakes_end_in_one_sentence(capsys, tmp_path):
    log = planted(tmp_path / "log.jsonl")
    assert "cannot be read" in refused(capsys, "forecast", tmp_path / "none")
    assert "--until" in refused(capsys, "forecast", log, "--until", 50)
    assert "share" in refused(capsys, "forecast", log, "--share", 2)
    assert "no 'eval/x'" in refused(capsys, "forecast", log, "--reward", "eval/x")
    assert "holds 2 runs" in refused(capsys, "forecast", SAMPLES / "wandb_export")
    assert "holds no run" in refused(capsys, "diagnose", SAMPLES / "wandb_export", "--run", "x")
    (tmp_path / "empty.csv").write_text("")
    assert "is empty" in refused(capsys, "diagnose", tmp_path / "empty.csv")


def test_one_of_several_runs(capsys):
    code, out, _ = run(capsys, "forecast", SAMPLES / "wandb_export", "--run", "grpo-seed1")
    assert code == 0
    assert "W&B CSV export" in " ".join(out.split())


def test_a_forecast_needs_no_torch(tmp_path):
    code = f"""
import sys
from isotherm import cli
cli.main(["forecast", {str(planted(tmp_path / "log.jsonl"))!r}, "--out", {str(tmp_path / "a.html")!r}])
print("torch" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "False"


def test_names_of_files_need_not_be_utf8(capsys, tmp_path):
    name = os.fsdecode(b"log\xff.csv")
    (tmp_path / name).write_text("step,entropy\n" + "".join(f"{t},{0.5 - t / 100}\n" for t in range(1, 30)))
    outputs = ("--json", tmp_path / "a.json", "--out", tmp_path / "a.html")
    assert run(capsys, "forecast", tmp_path / name, *outputs)[0] == 0
    assert "log\ufffd.csv" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_links_that_may_not_be_followed_are_passed_over(capsys, tmp_path, monkeypatch):
    planted(tmp_path / "log.jsonl")
    (tmp_path / "other").write_text("x")
    stat = Path.stat

    def denied(path, **options):
        if path.name == "other":
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", denied)
    assert run(capsys, "forecast", tmp_path)[0] == 0
    (tmp_path / "log.jsonl").unlink()
    assert "No training log was recognised in the 0 files" in refused(capsys, "forecast", tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_output_is_a_sentence():
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([sys.executable, "-m", "isotherm", "metrics"], stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 2
    assert ended.stderr == b"isotherm: The output cannot be written: No space left on device.\n"
