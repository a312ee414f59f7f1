"""What the user's own functions do wrong in a run ends in a sentence, and loses nothing that was written."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch

import isotherm
from isotherm.cli import main
from isotherm.errors import UserError
from isotherm.objective.functionals import of_distribution
from isotherm.objective.method import Control, Penalty
from isotherm.objective.penalties import negative_entropy
from isotherm.objective.published import METHODS
from isotherm.update import checkpoint, loop
from models import tiny_model

SETTINGS: dict[str, Any] = {
    "method": "own", "train": "chain:1", "held_out": "", "prompts": 2, "group": 4, "max_new": 8, "signal": "keep",
    "updates": 1, "dtype": "float32", "eval_problems": 0, "steps": 4, "save_every": 1, "store_every": 1, "quiet": True,
}  # fmt: skip
STEP = 3  # in which they fail


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(autouse=True)
def same_table_afterwards():
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


class Due:
    """Whether the run is in the step in which its functions fail."""

    step = 0

    def __bool__(self) -> bool:
        return self.step == STEP


due = Due()


@pytest.fixture(autouse=True)
def count(monkeypatch):
    draw = loop.Trainer.draw

    def counted(trainer, *given):
        due.step = trainer.state["step"] + 1
        return draw(trainer, *given)

    monkeypatch.setattr(loop.Trainer, "draw", counted)


def fail(*_: object) -> None:
    if due:
        raise KeyError("no such word")


def estimator(reward, group):
    fail()
    return reward - reward.mean()


@isotherm.reads("probability")
def term(tokens, *more):
    fail()
    return tokens.logprob * 0 + (more[0] if more else 1.0)


def control(state, measured):
    fail()
    return {"value": state["value"] / 2}


def own_measure(tokens):
    fail()
    return tokens.logprob.mean()


@isotherm.reads("entropy")
def functional(logp):
    fail()
    return logp.square().sum(-1)


def started(state, measured):
    return {"value": 0.1}


def coefficient() -> Any:
    return METHODS["entropy_bonus"].build(c=0.1)["penalties"][0].coefficient


def moved(update: Any, measure: Any = None) -> dict[str, Any]:
    return METHODS["entropy_bonus"].build() | {"controls": (Control("entropy_bonus.c", 0.1, update, measure),)}


SLOTS = {
    "estimator": lambda: {"advantage": estimator},
    "control": lambda: moved(control),
    "own_measure": lambda: moved(started, own_measure),
    "functional": lambda: {"penalties": (Penalty(partial(of_distribution, functional=functional), coefficient()),)},
    "term": lambda: {"weights": (term,)},
}
TERMS = {
    "shape": lambda: {"shape": (term,)},
    "surrogate": lambda: {"surrogate": term},
    "normalizer": lambda: {"normalizer": term},
    "cost": lambda: {"penalties": (Penalty(term, coefficient()),)},
    "coefficient": lambda: {"penalties": (Penalty(negative_entropy, term),)},
}


def run(build, model, out, **more):
    isotherm.add_method("own", build)
    return isotherm.train(**SETTINGS | {"model": model, "out": str(out), **more})


@pytest.mark.parametrize("name", [*SLOTS, *TERMS])
@pytest.mark.parametrize("more", [{}, {"statistics": "micro", "micro_batch": 4}], ids=["whole", "micro"])
def test_a_function_that_raises_is_named_with_its_step(name, more, model, tmp_path):
    build = {**SLOTS, **TERMS}[name]
    with pytest.raises(UserError) as caught:
        run(build, model, tmp_path / "run", **more)
    place = tmp_path / "run" / "traceback.txt"
    called = name if name in SLOTS else "term"
    assert str(caught.value) == (
        f"Step 3 stopped. Your {called} fails: KeyError: 'no such word'. Nothing of the step was saved, and all before "
        f"it stands. The whole traceback is in {place}."
    )
    text = place.read_text()
    assert f"in {called}" in text
    assert text.endswith("KeyError: 'no such word'\n")
    assert isinstance(caught.value.__cause__.__cause__, KeyError)
    check_written(tmp_path / "run")


def check_written(folder) -> None:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    found = checkpoint.latest(folder, [])
    assert found is not None
    assert found.step == 2
    assert sorted(path.stem for path in (folder / "rollouts").iterdir()) == ["step-000001", "step-000002"]


def test_what_is_mended_outside_of_the_method_goes_on(model, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="Step 3 stopped"):
        run(SLOTS["estimator"], model, tmp_path / "run")
    monkeypatch.setitem(globals(), "STEP", 0)
    assert run(SLOTS["estimator"], model, tmp_path / "run").steps == 4


WRONG = {
    "8 here, not NoneType": lambda reward, group: None,
    r"8 here, not a tensor of shape \(8, 1\)": lambda reward, group: reward[:, None],
    "8 here, not list": lambda reward, group: reward.tolist(),
}


@pytest.mark.parametrize("said", WRONG)
def test_an_estimator_gives_one_number_per_response(said, model, tmp_path):
    def advantage(reward, group):
        return WRONG[said](reward, group) if due else reward

    with pytest.raises(UserError, match=f"^Step 3 stopped. Your advantage must give one number per response, {said}"):
        run(lambda: {"advantage": advantage}, model, tmp_path / "run")
    assert not (tmp_path / "run" / "traceback.txt").exists()
    check_written(tmp_path / "run")


STATES = [None, {}, {"value": None}, {"value": float("nan")}, {"value": torch.tensor(1.0)}, {"value": 1.0, "x": {1, 2}}]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_control_gives_a_state_that_a_checkpoint_can_hold(state, model, tmp_path):
    def update(before, measured):
        return state if due else before

    with pytest.raises(UserError, match=r"^Step 3 stopped. Your update must give a dictionary .*\"value\", not "):
        run(lambda: moved(update), model, tmp_path / "run")
    check_written(tmp_path / "run")


@isotherm.reads("probability")
def in_place(tokens, *more):
    pi = tokens.logprob.exp()
    value = pi * (more[0] if more else 1.0)
    if due:
        pi.add_(1)  # which the slope of exp needs as it was
    return value


IN_PLACE = {
    "surrogate": lambda: {"surrogate": in_place},
    "cost": lambda: {"penalties": (Penalty(in_place, coefficient()),)},
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("more", [{}, {"updates": 2}, {"hold_entropy": "0.3", "hold_by": "entropy_bonus.c"}], ids=str)
def test_a_part_whose_slope_cannot_be_computed_is_named(name, more, model, tmp_path):
    more = more | {"method": "own + entropy_bonus"}
    with pytest.raises(UserError, match=r"^Step 3 stopped. Your in_place fails: RuntimeError: .*inplace operation"):
        run(IN_PLACE[name], model, tmp_path / "run", **more)
    check_written(tmp_path / "run")


def test_a_functional_gives_one_number_per_state(model, tmp_path):
    @isotherm.reads("entropy")
    def per_word(logp):
        return logp

    penalty = Penalty(partial(of_distribution, functional=per_word), coefficient())
    with pytest.raises(UserError, match=r"^Step 1 stopped. Your per_word must give one number per row, \d+ here"):
        run(lambda: {"penalties": (penalty,)}, model, tmp_path / "run")


def test_a_builder_that_fails_on_what_it_is_given(model, tmp_path):
    def build(k: float = 1.0):
        return {"weights": (term,)} if k == 1 else {}[k]

    isotherm.add_method("own", build)
    with pytest.raises(UserError, match=r"The method own cannot be built: KeyError: 2\.0\.") as caught:
        isotherm.train(**SETTINGS | {"model": model, "out": str(tmp_path / "run"), "method": "own(k=2)"})
    assert isinstance(caught.value.__cause__, KeyError)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("knob", ["c", "", ".c", "entropy_bonus.", "a.b.c"])
def test_a_knob_is_part_and_parameter(knob):
    with pytest.raises(UserError, match=r"which is no part\.parameter"):
        isotherm.add_method("own", lambda: {"controls": (Control(knob, 0.1, started),)})


RECIPE = """
import isotherm

calls = []

def mean_only(reward, group):
    calls.append(1)
    if len(calls) == 2:
        raise ValueError("two\\nlines")
    return reward - reward.mean()

isotherm.add_method("own", lambda: {"advantage": mean_only})

def config():
    return isotherm.Config(method="own", train="chain:1", held_out="", prompts=2, group=4, max_new=8, signal="keep",
                           updates=1, dtype="float32", eval_problems=0, steps=3)
"""


def test_the_command_ends_with_the_sentence_and_2(model, tmp_path):
    recipe, out = tmp_path / "own.py", tmp_path / "run"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "isotherm", "train", f"{recipe}:config", "--model", model, "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "isotherm: Step 2 stopped. Your mean_only fails: ValueError: two lines. Nothing of the step was saved, and all "
        f"before it stands. The whole traceback is in {out / 'traceback.txt'}."
    )
    assert "Traceback" not in ended.stderr
    assert "own.py" in (out / "traceback.txt").read_text()


def test_a_recipe_that_raises_says_how_to_see_where(tmp_path, capsys):
    (tmp_path / "own.py").write_text("def config():\n    return 1 / 0\n")
    assert main(["train", str(tmp_path / "own.py")]) == 2
    said = capsys.readouterr().err
    assert said.endswith(
        "fails: ZeroDivisionError: division by zero. The whole traceback: the same command with --traceback.\n"
    )
    with pytest.raises(UserError):
        main(["train", str(tmp_path / "own.py"), "--traceback"])
