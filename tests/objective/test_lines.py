import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.objective.lines import as_text, line
from isotherm.update.config import Config, as_dict, override


def test_a_constant_a_ramp_and_half_a_cosine():
    assert [line("0.3").at(step, 11, 0.5) for step in (1, 6, 11, 20)] == [0.3] * 4
    ramp, wave = line("linear(0.5, 0.1)"), line("cosine(0.5, 0.1)")
    assert [ramp.at(step, 11, 9.0) for step in (1, 6, 11, 20)] == pytest.approx([0.5, 0.3, 0.1, 0.1])
    assert [wave.at(step, 13, 9.0) for step in (1, 4, 7, 13)] == pytest.approx(
        [0.5, 0.3 + 0.2 * math.cos(math.pi / 4), 0.3, 0.1]
    )


def test_points_are_joined_and_start_is_what_was_measured():
    drawn = line("points(start, 0.2, 0.2, 0.1)")
    assert [drawn.at(step, 7, 0.4) for step in (1, 2, 3, 4, 5, 6, 7)] == pytest.approx(
        [0.4, 0.3, 0.2, 0.2, 0.2, 0.15, 0.1]
    )
    assert line("points(0.2)").at(3, 5, 1.0) == 0.2
    assert line("linear(start, start)").at(1, 1, 0.7) == 0.7  # a run of one step


def test_a_function_of_the_step_becomes_text():
    text = as_text(lambda step: 1 / step, 4)
    assert [line(text).at(step, 4, 0.0) for step in (1, 2, 3, 4)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert as_text(0.25, 4) == "0.25"
    assert as_text("linear(1, 2)", 4) == "linear(1, 2)"


@pytest.mark.parametrize(
    "text",
    [
        "", "nan", "1e999", "-0.1", "0", "True", "linear(0.3)", "linear(0.3, 0.2, 0.1)", "cosine(0.3, end)", "points()",
        "constant(0.3)", "square(0.3, 0.2)", "linear(a=1, b=2)", "0.3 + 0.1", "__import__('os')", "(" * 300, "'0.3'",
    ],
)  # fmt: skip
def test_what_is_no_line_is_a_sentence(text):
    with pytest.raises(UserError, match="linear\\(a, b\\)"):
        line(text)


def with_settings(**settings: Any) -> Config:
    return Config(**settings)


def test_a_function_of_the_step_is_sampled_again_for_other_steps():
    config = with_settings(hold_entropy=lambda step: 1 / step, steps=8)
    assert line(config.hold_entropy).at(8, 8, 0.0) == 1 / 8
    shorter = override(config, {"steps": "4"})
    assert [line(shorter.hold_entropy).at(step, 4, 0.0) for step in (1, 2, 3, 4)] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert type(as_dict(shorter)["hold_entropy"]) is str
    assert override(Config(hold_entropy="points(3, 2, 1)", steps=3), {"steps": 4}).hold_entropy == "points(3, 2, 1)"


@pytest.mark.parametrize("function", [lambda step: None, lambda step: 1 / 0, lambda: 0.3])
def test_a_function_that_fails_is_a_sentence(function):
    with pytest.raises(UserError, match="The function given as hold_entropy fails"):
        with_settings(hold_entropy=function)


def test_numbers_of_numpy_are_numbers():
    assert with_settings(hold_entropy=np.float64(0.3)).hold_entropy == "0.3"
    config = with_settings(lr=np.float32(0.5), steps=np.int64(3), eval_k=(np.int64(1),), out=Path("a"))
    assert (config.lr, config.steps, config.eval_k, config.out) == (0.5, 3, (1,), "a")
    assert [type(x) for x in (config.lr, config.steps, config.eval_k[0], config.out)] == [float, int, int, str]
    with pytest.raises(UserError, match="steps takes a whole number"):
        with_settings(steps=np.float32(3))


@pytest.mark.parametrize("text", ["-" * 900 + "1", "linear(" + "-" * 900 + "1, 2)", "x" * 10_000])
def test_long_mistakes_are_short_sentences(text):
    with pytest.raises(UserError) as refused:
        line(text)
    assert len(str(refused.value)) < 400
