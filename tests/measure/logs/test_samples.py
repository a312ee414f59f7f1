"""Logs that the tools wrote, and samples made after their source; which is which says samples/README.md."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from folders import make_run

from isotherm.errors import UserError
from isotherm.measure.catalogue import describe
from isotherm.measure.logs import read

SAMPLES = Path(__file__).parent / "samples"
NAN = np.nan


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "huggingface.db"
    path.write_bytes(gzip.decompress((SAMPLES / "trackio" / "huggingface.db.gz").read_bytes()))
    return path


def states() -> list[dict]:
    """What TRL itself stored, the reference for all of its trackers."""
    return json.loads((SAMPLES / "trl" / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]


def test_trl_names_and_numbers():
    log, rows = read(SAMPLES / "trl"), states()
    assert (log.source.tool, log.source.format) == ("TRL", "trainer_state.json")
    assert log.source.file.parts[-2:] == ("checkpoint-6", "trainer_state.json")
    assert log.step.tolist() == [1, 2, 3, 4, 5, 6]
    pairs = {
        "entropy/exact": "entropy", "reward/mean": "reward", "length/mean": "completions/mean_length",
        "update/clip_low": "clip_ratio/low_mean", "update/grad_norm": "grad_norm", "update/lr": "learning_rate",
        "kl/reference": "kl",
    }  # fmt: skip
    for ours, theirs in pairs.items():
        np.testing.assert_array_equal(log.series[ours], [row.get(theirs, NAN) for row in rows])
        assert log.origin[ours].key == theirs
    zero = np.array([row.get("frac_reward_zero_std", NAN) for row in rows])
    np.testing.assert_array_equal(log.series["signal/groups"], 1 - zero)
    assert log.settings == {"steps": 6}
    assert any("one with the last step" in note for note in log.notes)


def test_responses_fill_what_the_state_lacks():
    share = read(SAMPLES / "trl").series["pass@1/train"]
    alone = read(SAMPLES / "trl" / "completions")
    np.testing.assert_array_equal(share, [0, 0, 0, 0, 1 / 16, 1 / 16])
    np.testing.assert_array_equal(alone.series["reward/mean"], share)
    np.testing.assert_array_equal(alone.series["signal/groups"], [0, 0, 0, 0, 0.5, 0.5])
    assert alone.source.format == "completions parquet"


@pytest.mark.parametrize("tracker", ["trackio", "tensorboard", "wandb"])
def test_the_trackers_of_one_training_agree_with_its_state(tracker, database):
    place = {"trackio": database, "wandb": SAMPLES / "wandb" / "trl.wandb"}
    log = read(place.get(tracker, SAMPLES / "tensorboard" / "events.out.tfevents.1.host.trl"))
    state = read(SAMPLES / "trl" / "checkpoint-6")
    assert log.source.tool == "TRL"
    assert log.step.tolist() == state.step.tolist()
    assert set(state.series) == set(log.series)
    exact = 0 if tracker != "tensorboard" else 1e-6  # float32 in event files
    for name, values in state.series.items():
        np.testing.assert_allclose(log.series[name], values, rtol=exact)
    found = {
        name: log.settings[name] for name in ("lr", "temperature", "clip_low", "clip_high", "beta", "group", "updates")
    }
    assert found == {
        "lr": 1e-4, "temperature": 0.9, "clip_low": 0.2, "clip_high": 0.28, "beta": 0.04, "group": 8, "updates": 2,
    }  # fmt: skip


def test_scalars_as_tensors_are_read_like_the_older_form():
    log = read(SAMPLES / "tensorboard" / "events.out.tfevents.1.host.tensors")
    assert log.source.tool == "verl"
    np.testing.assert_allclose(log.series["entropy/exact"], [0.5, 0.45, 0.4, 0.35, 0.3], rtol=1e-6)
    np.testing.assert_allclose(log.series["update/loss"], [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_rows_of_a_script_in_wandb():
    log = read(SAMPLES / "wandb" / "plain.wandb")
    assert log.source.tool == ""
    assert log.step.tolist() == [1, 2, 3, 5]
    np.testing.assert_array_equal(log.series["entropy/unknown"], [0.5, 0.4, NAN, 0.2])
    np.testing.assert_array_equal(log.series["reward/mean"], [0.1, NAN, NAN, 0.4])
    assert log.settings == {"lr": 1e-3}
    assert "entropy/unknown is NaN or infinite at step 3." in log.notes
    assert "reward/mean is NaN or infinite at step 2." in log.notes
    assert "Written by W&B 0.31.0." in log.notes
    assert any("nested/reward" in note for note in log.notes)


@pytest.mark.parametrize("name", ["console.log", "experiment.jsonl"])
def test_verl(name):
    log = read(SAMPLES / "verl" / name)
    rows = [json.loads(line) for line in (SAMPLES / "verl" / "experiment.jsonl").read_text().splitlines()]
    begun = [0] if name == "console.log" else []  # only the console sample has the evaluation before training
    assert log.source.tool == "verl"
    assert log.step.tolist() == [*begun, 1, 2, 3, 4, 5, 6]
    for ours, theirs in {
        "entropy/exact": "actor/entropy",
        "reward/mean": "critic/score/mean",
        "update/lr": "actor/lr",
    }.items():
        values = [row["data"][theirs] for row in rows]
        np.testing.assert_array_equal(log.series[ours], [NAN] * len(begun) + values)
    evaluated = log.series["eval/openai_gsm8k/pass@1"]
    np.testing.assert_allclose(evaluated, [0.31] * len(begun) + [NAN, NAN, 0.34, NAN, NAN, 0.37])
    assert any(note.startswith("critic/rewards/mean would be reward/mean too") for note in log.notes)


def test_verls_printed_settings():
    settings = read(SAMPLES / "verl" / "console.log").settings
    assert settings == {
        "lr": 1e-6, "group": 8, "temperature": 1.0, "max_new": 1024, "updates": 1, "clip_low": 0.2, "clip_high": 0.28,
        "beta": 0.001, "entropy_coef": 0, "loss": "vanilla", "aggregation": "token-mean", "advantage": "grpo",
    }  # fmt: skip


def test_prime_rl_metrics_of_trainer_and_orchestrator():
    log = read(SAMPLES / "prime_rl")
    assert (log.source.tool, log.source.file.name) == ("prime-rl", "metrics.jsonl")
    assert log.step.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(log.series["entropy/exact"], 0.2 + 0.3 * np.exp(-np.arange(6) / 3))
    np.testing.assert_allclose(log.series["reward/mean"], 0.35 + 0.02 * np.arange(6))
    np.testing.assert_allclose(log.series["eval/aime/pass@8"], [0.3, NAN, 0.32, NAN, 0.34, NAN])
    assert any("Also here, and not read: rank_0.jsonl, rank_1.jsonl." in note for note in log.notes)


def test_prime_rl_token_exports():
    """Four trained tokens per sequence, entropies 0.1 step + 0.1 rank + 0.01 k at k = 2 to 5: 0.135 and 0.235."""
    log = read(SAMPLES / "prime_rl" / "token_exports")
    np.testing.assert_allclose(log.series["entropy/exact"], [0.185, 0.285])
    np.testing.assert_allclose(log.series["length/mean"], [4, 4])
    np.testing.assert_allclose(log.series["update/clip"], [2 / 16, 2 / 16])
    assert read(SAMPLES / "prime_rl" / "token_exports" / "step_1" / "rank_1.jsonl").series["entropy/exact"] == [0.235]


def test_wandb_export_of_two_runs_in_two_charts():
    with pytest.raises(UserError, match="holds 2 runs; name one of them: 'grpo-seed0', 'grpo-seed1'"):
        read(SAMPLES / "wandb_export")
    log = read(SAMPLES / "wandb_export", run="grpo-seed1")
    np.testing.assert_allclose(log.series["entropy/exact"], [0.46, 0.41, 0.36, 0.31])
    np.testing.assert_allclose(log.series["reward/mean"], [0.24, 0.27, 0.3, 0.33])
    with pytest.raises(UserError, match="holds no run 'x'"):
        read(SAMPLES / "wandb_export", run="x")


def test_a_plain_table_does_not_say_which_entropy():
    log = read(SAMPLES / "csv" / "named.csv")
    assert log.source.tool == ""
    assert set(log.series) == {"entropy/unknown", "reward/mean", "update/lr"}
    assert log.notes[0].startswith("No known tool was recognised")


def test_our_run_folder(tmp_path):
    folder = make_run(tmp_path / "a", steps=20, epsilon=1e-8)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for path in (folder, folder / "metrics.jsonl"):
        log = read(path)
        assert (log.source.tool, log.source.format) == ("isotherm", "run folder")
        assert log.step.tolist() == list(range(21))
        names = {name for row in rows for name in row} - {"step"}
        assert set(log.series) == names
        for name in names:
            expected = [NAN if row.get(name) is None else row[name] for row in rows]
            np.testing.assert_array_equal(log.series[name], expected)
        assert log.settings["lr"] == 3e-4
        assert log.settings["epsilon"] == 1e-8
        assert "clip_low" not in log.settings


def test_several_run_folders_are_not_mixed(tmp_path):
    make_run(tmp_path / "a", steps=3)
    make_run(tmp_path / "b", steps=3)
    with pytest.raises(UserError, match="There are 2 logs here"):
        read(tmp_path)


def test_every_series_is_in_the_catalogue(database):
    paths = [
        p
        for p in SAMPLES.rglob("*")
        if p.suffix in (".wandb", ".jsonl", ".log", ".json", ".parquet", ".trl", ".tensors")
    ]
    names = {name for path in [*paths, database] for name in read(path).series}
    assert len(names) > 15
    assert not [name for name in names if describe(name) is None]


def test_no_tracker_needs_to_be_installed(monkeypatch, database):
    for package in ("wandb", "tensorboard", "trackio", "pandas"):
        monkeypatch.setitem(sys.modules, package, None)
    read(SAMPLES / "wandb" / "trl.wandb")
    read(SAMPLES / "tensorboard" / "events.out.tfevents.1.host.trl")
    read(database)


def test_files_are_recognised_by_what_they_hold(tmp_path, database):
    """Under a name that says nothing, and through a link."""
    for source in (
        SAMPLES / "wandb" / "trl.wandb",
        SAMPLES / "verl" / "console.log",
        SAMPLES / "csv" / "named.csv",
        database,
    ):
        copy, link = tmp_path / "log", tmp_path / "link"
        shutil.copy(source, copy)
        link.unlink(missing_ok=True)
        link.symlink_to(copy)
        log = read(link)
        assert log.source.format == read(source).source.format
        for name, values in read(source).series.items():
            np.testing.assert_array_equal(log.series[name], values)
