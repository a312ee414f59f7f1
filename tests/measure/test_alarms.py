from __future__ import annotations

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure.alarms import alarms

FLAT = np.full(30, 0.4)
NOISE = 0.02 * np.resize([1.0, -1.0], 30)  # in the reward


def test_a_run_that_learns_at_steady_entropy_gives_none():
    assert alarms({"entropy": FLAT, "reward": np.linspace(0.2, 0.4, 30) + NOISE}) == []
    assert alarms({"entropy": FLAT}) == []


def test_explosion_is_half_more_than_at_the_start():
    rising = np.concatenate([np.full(3, 0.4), np.full(5, 0.59)])
    assert alarms({"entropy": rising}) == []
    rising[-3:] = 0.7
    assert alarms({"entropy": rising}) == [
        "Entropy explodes: it is 1.75 times that of the start, 0.7 nats against 0.4."
    ]


def test_collapse_is_in_spite_of_a_method_only_where_tokens_are_touched():
    fallen = np.concatenate([np.full(4, 0.4), np.full(6, 0.16)])
    assert alarms({"entropy": fallen}) == []
    assert alarms({"entropy": fallen, "method/touched": np.zeros(10)}) == []
    (told,) = alarms({"entropy": fallen, "method/touched": np.full(10, 0.2)})
    assert told == "Entropy collapses in spite of the method: 40 % of it are left, and 20 % of the tokens are touched."
    assert alarms({"entropy": fallen + 0.2, "method/touched": np.full(10, 0.2)}) == []


def test_a_line_that_falls_with_the_entropy_is_no_alarm():
    fallen = np.concatenate([np.full(4, 0.4), np.full(6, 0.16)])
    assert alarms({"entropy": fallen, "hold/line": np.full(10, 0.18)}) == []
    (told,) = alarms({"entropy": fallen, "hold/line": np.full(10, 0.4)})
    assert told == "Entropy collapses in spite of the thermostat: it is 0.16 nats, and the line 0.4."


def test_no_learning_needs_certainty():
    """The thirds' means are equal and s^2 = .02^2 10 / 9: 1.96 sqrt(2 s^2 / 10) = .018 < .03, but not with 4 s."""
    (told,) = alarms({"entropy": FLAT, "reward": 0.2 + NOISE})
    assert told == (
        "No learning: from the first to the last third of the steps the mean reward went from 0.2 to 0.2 (+0 +- 0.018)."
    )
    assert alarms({"entropy": FLAT, "reward": 0.2 + 4 * NOISE}) == []
    assert alarms({"entropy": FLAT[:23], "reward": (0.2 + NOISE)[:23]}) == []


def test_a_reward_that_falls_is_no_learning_and_one_at_its_top_is_no_alarm():
    assert len(alarms({"entropy": FLAT, "reward": np.linspace(0.4, 0.1, 30)})) == 1
    assert alarms({"entropy": FLAT, "reward": np.full(30, 0.97)}) == []


def test_several_alarms_come_together():
    told = alarms({"entropy": np.linspace(0.3, 1.5, 30), "reward": np.linspace(0.2, 0.0, 30)})
    assert [t.split(" ")[0] for t in told] == ["Entropy", "No"]


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({}, "only: none"),
        ({"reward": [1.0]}, "needs the entropy"),
        ({"entropy": [0.4] * 5}, "at least 6 rows"),
        ({"entropy": [np.nan] * 9}, "at least 6 rows"),
        ({"entropy": [0.4] * 9, "reward": [0.1]}, "a value in every row"),
        ({"entropy": [[0.4]] * 9}, "one column"),
        ({"entropy": ["a"] * 9}, "real numbers"),
        ({"entropy": [0.4, np.inf] * 9}, "not finite"),
        ({"entropy": [0.4, -1.0] * 9}, "between 0 and 50"),
        ({"entropy": [0.0] * 9}, "0 from the start"),
        ({"entropy": [1e300] * 9}, "no number of a run"),
        ({"entropy": [0.4] * 9, "reward": [1e300] * 9}, "no number of a run"),
    ],
)
def test_what_is_no_run_is_refused_in_a_sentence(metrics: dict, told: str):
    with pytest.raises(UserError, match=told):
        alarms(metrics)


def test_rows_without_entropy_are_passed_over():
    """A run's row of step 0 is its evaluation."""
    entropy = np.concatenate([[np.nan], np.full(3, 0.4), np.full(3, 0.8)])
    assert len(alarms({"entropy": entropy, "reward": np.r_[np.nan, np.ones(6)]})) == 1
