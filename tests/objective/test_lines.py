import math

import pytest

from isotherm.errors import UserError
from isotherm.objective.lines import as_text, line


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
