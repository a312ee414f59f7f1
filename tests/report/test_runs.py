"""A run folder read as an object, and the sentences for one that cannot be read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from folders import make_run

from isotherm.errors import UserError
from isotherm.report.summary import describe_run
from isotherm.runs import ends_of, load_run


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "a", steps=20)


def test_metrics_are_arrays_aligned_with_the_step(folder):
    run = load_run(folder)
    assert run.metrics["step"].tolist() == list(range(21))
    assert all(values.shape == (21,) for values in run.metrics.values())
    assert np.isnan(run.metrics["entropy/exact"][0])
    assert np.isnan(run.metrics["update/grad_norm"][3])
    assert np.isfinite(run.metrics["update/grad_norm"][4:]).all()
    assert run.timings["tokens_per_second"][0] == 21345.6


def test_the_rest_of_the_folder(folder):
    run = load_run(folder)
    (folder / "checkpoints" / ".step-000099.tmp").mkdir()
    assert (run.steps, run.name, run.eval_steps) == (20, "grpo-seed0", [0, 20])
    assert run.checkpoint == folder / "checkpoints" / "step-000020"
    assert run.eval_rollouts(20).num_rows == 48
    assert run.eval_rollouts(0, ["response"]).column_names == ["response"]
    assert run.environment["dtype"] == "float32"


def test_ends_take_the_first_value_and_the_mean_of_the_last(folder):
    run = load_run(folder)
    values = run.metrics["entropy/exact"]
    assert run.ends("entropy/exact", 4) == (values[1], values[-4:].mean())
    assert np.isnan(ends_of(run, "nothing")).all()
    assert run.steps_to("entropy/exact", 0.2, falling=True) > 0
    for call in (run.ends, run.area, lambda name: run.steps_to(name, 0.3)):
        with pytest.raises(UserError, match=r"has no metric 'entropy/exac'.*near are entropy/exact"):
            call("entropy/exac")
    for window in (0, -1):
        with pytest.raises(UserError, match=f"window must be at least 1, but is {window}"):
            run.ends("entropy/exact", window)
        with pytest.raises(UserError, match=f"window must be at least 1, but is {window}"):
            run.steps_to("entropy/exact", 0.3, window=window)


def test_shows_itself_in_one_line_and_in_a_notebook(folder):
    run = load_run(folder)
    assert "\n" not in repr(run)
    assert "grpo-seed0" in repr(run)
    assert "steps 20/20" in repr(run)
    assert "<table>" in run._repr_html_()


def test_a_torn_last_line_is_left_out(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "entropy/ex')
    assert load_run(folder).steps == 20


@pytest.mark.parametrize("damage", [
    "{torn", "", "[1]", '{"entropy/exact": 1}', '{"step": 1, "a": "b"}', "\x00\xff",
    '{"step": true}', '{"step": 1' + "0" * 30 + "}", '{"step": 1, "a": 1' + "0" * 400 + "}", "[" * 100_000,
], ids=lambda text: text[:20])  # fmt: skip
def test_a_damaged_line_is_named(folder, damage):
    path = folder / "metrics.jsonl"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:6], damage, *lines[7:]]), encoding="latin-1")
    with pytest.raises(UserError, match=r"Line 7 of .*metrics\.jsonl is damaged"):
        load_run(folder)


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_settings_nested_beyond_reading_and_folders_are_named(folder, name):
    (folder / name).write_text("[" * 100_000)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        load_run(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(UserError, match=f"{name} cannot be read: Is a directory"):
        load_run(folder)


def test_missing_things_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no metrics\.jsonl"):
        load_run(tmp_path)
    with pytest.raises(UserError, match="it holds 2, from 0 to 20"):
        load_run(folder).eval_rollouts(7)
    with pytest.raises(UserError, match="it holds none"):
        load_run(folder).rollouts(1)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        load_run(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_run(folder)


def test_a_run_of_no_steps_can_be_shown(tmp_path):
    folder = make_run(tmp_path / "a", steps=4)
    (folder / "metrics.jsonl").write_text("")
    run = load_run(folder)
    assert run.steps == 0
    assert "0/4" in repr(run)
    assert "Isotherm" in run.report().read_text(encoding="utf-8")


def test_no_torch(folder):
    import subprocess
    import sys

    code = (
        "import sys, isotherm.runs, isotherm.report.page, isotherm.report.live, isotherm.report.watch, "
        "isotherm.report.sinks, isotherm.measure.passk, isotherm.measure.catalogue\n"
        "late = {'torch', 'matplotlib', 'rich', 'pyarrow'} & set(sys.modules)\n"
        "assert not late, late\n"
        f"run = isotherm.runs.load_run({json.dumps(str(folder))}); run.report()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_held_run_says_how_well_the_line_was_kept(tmp_path):
    folder = make_run(tmp_path / "held", steps=20)
    path = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, r in enumerate(rows[1:], 1):
        r |= {"entropy/exact": 0.33, "hold/line": 0.3, "hold/error": 0.03}
        r["knob/par.pos"] = 0.0 if number <= 5 else 0.5
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    text = describe_run(load_run(folder), "par").replace("\u00a0", " ")
    assert "The mean of 10 steps was 10.0 % off the line on average and 10.0 % at most" in text
    assert "par.pos was inside its bounds in 75.0 % of the steps" in text
