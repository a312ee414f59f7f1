"""A run folder goes on only with the problems and the models that it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isotherm.errors import UserError
from isotherm.rollout.store import path_of
from isotherm.update import inputs
from isotherm.update.config import Config
from isotherm.update.folder import RunFolder
from isotherm.update.setup import claim
from models import tiny_model

ROW = '{"prompt": "2+2=", "answer": 4}\n'


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    for name in ("train.jsonl", "eval.jsonl"):
        (tmp_path / name).write_text(ROW)
    (tmp_path / "before" / "rollouts").mkdir(parents=True)
    for step in (1, 2, 3):
        path_of(tmp_path / "before", step).write_bytes(b"rollout %d" % step)
    reference = tmp_path / "reference"
    reference.mkdir()
    return {
        "model": str(tiny_model(tmp_path)), "data": str(tmp_path / "train.jsonl"), "out": str(tmp_path / "run"),
        "eval_data": str(tmp_path / "eval.jsonl"), "reference": str(tiny_model(reference, seed=1)),
        "replay": str(tmp_path / "before"), "steps": 2,
    }  # fmt: skip


def claimed(settings: dict[str, Any]) -> RunFolder:
    with RunFolder(settings["out"]) as folder:
        claim(Config(**settings), folder)
    return folder


@pytest.mark.parametrize(
    ("setting", "file"),
    [("data", ""), ("eval_data", ""), ("model", "config.json"), ("model", "model.safetensors"),
     ("reference", "tokenizer.json"), ("replay", "rollouts/step-000002.parquet")],
)  # fmt: skip
def test_changed_content_is_refused_by_name(settings, setting, file):
    claimed(settings)
    claimed(settings)
    path = Path(settings[setting], file)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UserError, match=f"a run with another {setting}: {path} has changed since it began"):
        claimed(settings)


def test_it_is_the_content_that_counts(settings, tmp_path):
    """Neither times nor folders; and what is not read does not matter."""
    first = claimed(settings).inputs.read_bytes()
    (Path(settings["model"]) / "README.md").write_text("new")
    path_of(settings["replay"], 3).write_bytes(b"a step that is not replayed")
    Path(settings["data"]).touch()
    claimed(settings)
    assert claimed(settings | {"out": str(tmp_path / "other")}).inputs.read_bytes() == first


def test_a_run_from_before_has_no_digests(settings):
    claimed(settings).inputs.unlink()
    Path(settings["data"]).write_text(ROW * 2)
    assert not claimed(settings).inputs.exists()


def test_a_run_from_before_has_no_digests_of_replayed_rollouts(settings):
    path = claimed(settings).inputs
    there = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in there.items() if not name.startswith("replay/")}))
    path_of(settings["replay"], 1).write_bytes(b"another")
    claimed(settings)
    Path(settings["data"]).write_text(ROW * 2)
    with pytest.raises(UserError, match="another data"):
        claimed(settings)


def test_of_large_files_only_the_size(settings, monkeypatch):
    monkeypatch.setattr(inputs, "LARGE", 10)
    found = inputs.digests(Config(**settings))
    assert found["data"] == f"{len(ROW)} bytes"


def test_what_cannot_be_read_is_named(settings):
    path = path_of(settings["replay"], 2)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=f"{path} cannot be read: Is a directory"):
        claimed(settings)
