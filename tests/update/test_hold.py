"""The thermostat in a run: it turns the knob, its state survives, and mistakes are sentences."""

from __future__ import annotations

import numpy as np
import pytest

from isotherm import api
from isotherm.errors import UserError
from isotherm.objective.compose import method
from isotherm.update.config import Config
from isotherm.update.hold import mean_entropy, out_of_reach, thermostat
from isotherm.update.setup import prepare
from models import tiny_model
from update.test_resume import SETTINGS, contents, like, stop


def held(line: str = "0.3", by: str = "", name: str = "entropy_bonus", **more):
    config = Config(method=name, hold_entropy=line, hold_by=by, **more)
    return thermostat(config, method(name))


def test_the_methods_own_knob_is_taken_and_its_control_goes():
    chosen, found = held(name="clip_higher + par")
    assert [knob.name for knob in found.knobs] == ["ppo_clip.high"]
    assert [control.knob for control in chosen.controls] == ["par.pos"]
    chosen, found = held(name="par", by="par.neg, par.pos")
    assert [knob.name for knob in found.knobs] == ["par.neg", "par.pos"]
    assert chosen.controls == ()
    assert found.neutral == (1.0, 1.0)
    _, found = held(name="grpo", by="temperature", temperature=0.8)
    assert found.neutral == (0.8,)
    assert found.known


@pytest.mark.parametrize(
    ("name", "line", "by", "says"),
    [
        ("grpo", "0.3", "", "no knob of its own; --hold-by takes: sampling.temperature"),
        ("par", "0.3", "par.lambda", "no knob 'par.lambda'; --hold-by takes: par.pos, par.neg, sampling.temperature"),
        ("par", "0.3", "kl_cov.beta", "no knob 'kl_cov.beta'"),
        ("par", "0.3", "par.pos, temperature", "hold by one kind"),
        ("sapo", "0.3", "", "is not known"),
        ("par", "low", "", "no entropy above 0"),
        ("par", "", "par.pos", "no line is given"),
    ],
)
def test_mistakes_are_sentences_before_any_model_is_loaded(name, line, by, says):
    with pytest.raises(UserError, match=says.replace("(", "\\(")):
        prepare(Config(method=name, hold_entropy=line, hold_by=by))


def test_the_standard_error_is_that_over_problems():
    class Rollout:
        group = np.array([3, 3, 7, 7])
        entropy = np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 2.0], [2.0, 0.0]], np.float32)
        length = np.array([2, 1, 2, 1])

    mean, noise = mean_entropy(Rollout())  # pyright: ignore[reportArgumentType]
    assert mean == pytest.approx(9 / 6)
    assert noise == pytest.approx(np.sqrt(2 * (1.5**2 + 1.5**2)) / 6)  # residuals 3 - 4.5 and 6 - 4.5


def test_a_word_when_the_line_is_out_of_reach():
    state = {"stuck": 10, "mean": [0.2, 0, 1], "line": 0.3, "values": {"par.pos": 0.0}}
    assert "below the line's 0.300, and par.pos = 0 has been at its bound" in out_of_reach(state)
    assert out_of_reach(state | {"stuck": 11}) == ""
    assert out_of_reach(state | {"line": 0.205}) == ""
    assert out_of_reach({}) == ""


@pytest.mark.parametrize(
    ("knob", "arguments"),
    [("entropy_bonus.c", {"method": "entropy_bonus"}), ("sampling.temperature", {"hold_by": "temperature"})],
)
def test_a_run_turns_its_knob_and_resumes_as_if_nothing_had_happened(knob, arguments, tmp_path, monkeypatch):
    model = str(tiny_model(tmp_path / "model"))
    settings = SETTINGS | {"model": model, "hold_entropy": lambda step: 2.0 - 0.01 * step, **arguments}
    whole = api.train(**settings, out=str(tmp_path / "whole"), quiet=True)
    settings["out"] = like(whole.path, tmp_path / "broken")
    stop(monkeypatch, 5, settings)
    assert contents(api.train(**settings, quiet=True).path) == contents(whole.path)

    names = (f"knob/{knob}", "hold/line", "hold/error", "entropy/exact")
    columns = {name: whole.metrics[name][1:] for name in names}
    assert len(set(columns[f"knob/{knob}"])) > 1
    assert columns["hold/line"] == pytest.approx(2.0 - 0.01 * np.arange(1, 10))
    assert columns["hold/error"] == pytest.approx(columns["entropy/exact"] - columns["hold/line"])
    assert whole.config["hold_entropy"].startswith("points(1.99, ")
