"""Trackers: opened by name, given finite values, and unable to stop training."""

from __future__ import annotations

import math

import pytest

from isotherm.errors import UserError
from isotherm.report import sinks


class Recorder:
    rows: list

    def __init__(self, folder, config) -> None:
        self.rows, self.closed = [], False

    def log(self, step, row) -> None:
        self.rows.append((step, dict(row)))

    def close(self) -> None:
        self.closed = True


class Broken(Recorder):
    def log(self, step, row) -> None:
        raise ConnectionError("no\nroute")


def test_only_finite_values_are_logged(tmp_path, monkeypatch):
    monkeypatch.setitem(sinks.SINKS, "json", Recorder)  # a module that is always there
    (guard,) = sinks.open_sinks(["json"], tmp_path, {})
    recorder = guard.sink
    assert isinstance(recorder, Recorder)
    guard.log(3, {"step": 3, "a": 1.0, "b": None, "c": math.nan, "d": 2})
    guard.close()
    assert recorder.rows == [(3, {"a": 1.0, "d": 2})]
    assert recorder.closed


def test_a_broken_sink_is_dropped_with_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sinks.SINKS, "json", Broken)
    (guard,) = sinks.open_sinks(["json"], tmp_path, {})
    for step in range(3):
        guard.log(step, {"a": 1.0})
    guard.close()
    out = capsys.readouterr().out
    assert out == "The tracker json failed and is left out from here on (ConnectionError: no route).\n"


def test_an_unknown_name_and_a_missing_package_are_sentences(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="Valid are: trackio, wandb, tensorboard"):
        sinks.open_sinks(["mlflow"], tmp_path, {})
    monkeypatch.setattr(sinks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'isotherm\[wandb\]'"):
        sinks.open_sinks(["wandb"], tmp_path, {})


@pytest.mark.slow
def test_tensorboard_for_real(tmp_path):
    pytest.importorskip("tensorboard")
    (guard,) = sinks.open_sinks(["tensorboard"], tmp_path, {"seed": 0})
    guard.log(1, {"entropy/exact": 0.5})
    guard.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Scalars("entropy/exact")[0].value == 0.5
