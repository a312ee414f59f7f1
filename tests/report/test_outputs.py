"""Pages are written over nothing that was read, and over no run."""

from __future__ import annotations

from pathlib import Path

import pytest
from folders import make_run
from planted import planted

from isotherm import cli
from isotherm.errors import UserError
from isotherm.report import outputs
from isotherm.runs import load_run

SAMPLES = Path(__file__).parents[1] / "measure" / "logs" / "samples"
DUMP = SAMPLES / "prime_rl" / "token_exports" / "step_1" / "rank_0.jsonl"


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("command", "source", "option", "out"),
    [
        ("forecast", "log.jsonl", "--json", "log.jsonl"),
        ("forecast", "log.jsonl", "--out", "link.html"),
        ("forecast", "log.jsonl", "--json", "other.json"),
        ("forecast", "run", "--out", "run/metrics.jsonl"),
        ("diagnose", "log.jsonl", "--json", "run/config.json"),
        ("report", "run", "--out", "run/metrics.jsonl"),
        ("report", "run", "--out", "run/timings.jsonl"),
        ("report", "run", "--out", "run/checkpoints/step-000000/manifest.json"),
        ("report", "run", "--out", "log.jsonl"),
        ("inspect", "step_1/rank_0.jsonl", "--out", "step_1/rank_0.jsonl"),
    ],
)
def test_what_was_read_and_what_a_run_wrote_stays(capsys, tmp_path, command, source, option, out):
    make_run(tmp_path / "run", steps=20)
    planted(tmp_path / "log.jsonl")
    planted(tmp_path / "other.json")
    (tmp_path / "link.html").hardlink_to(tmp_path / "log.jsonl")
    (tmp_path / "step_1").mkdir()
    (tmp_path / "step_1" / "rank_0.jsonl").write_bytes(DUMP.read_bytes())
    before = files(tmp_path)
    assert cli.main([command, str(tmp_path / source), option, str(tmp_path / out)]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    assert any(words in said.err for words in ("is not written over", "lies among the files of a run"))
    assert files(tmp_path) == before


def test_two_outputs_are_two_files(capsys, tmp_path):
    log = planted(tmp_path / "log.jsonl")
    same = str(tmp_path / "x.json")
    assert cli.main(["forecast", str(log), "--json", same, "--out", str(tmp_path / "." / "x.json")]) == 2
    assert "is given for two outputs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [log]


def test_pages_and_numbers_of_a_run_may_lie_beside_it_and_be_renewed(capsys, tmp_path):
    run = make_run(tmp_path / "run", steps=20)
    arguments = ["forecast", str(run), "--json", str(run / "forecast.json"), "--out", str(run / "forecast.html")]
    assert [cli.main(arguments), cli.main(arguments), cli.main(["report", str(run)])] == [0, 0, 0]


@pytest.mark.parametrize("out", ["", "x" * 5000, "/proc/x.html", "/", "x" * 200 + "/" + "y" * 5000, "file/x.html"])
def test_a_report_that_cannot_be_written_is_a_sentence(capsys, tmp_path, out):
    run = make_run(tmp_path / "run", steps=20)
    (tmp_path / "file").write_text("")
    assert cli.main(["report", str(run), "--out", str(tmp_path / out)]) == 2
    assert "cannot be written" in (error := capsys.readouterr().err)
    assert len(error) < 1000
    with pytest.raises(UserError, match="cannot be written"):
        load_run(run).report(tmp_path / out)


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("isotherm.files.os.write", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        outputs.write(tmp_path / "x.html", "x")
    assert not list(tmp_path.iterdir())
