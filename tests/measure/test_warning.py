from __future__ import annotations

import math

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure import warning
from isotherm.measure.warning import FITS, collapse_risk, collapsed
from isotherm.measure.watched import watched

FAST = 0.4 * np.exp(-np.arange(100) / 20)
FLAT = np.full(100, 0.4)


def test_collapsed_is_less_than_half_at_the_end():
    """The mean of the last tenth against the mean of the first three, strictly."""
    entropy = np.full(40, 0.4)
    entropy[:3] = 0.3, 0.4, 0.5
    entropy[-4:] = 0.1, 0.3, 0.1, 0.3
    assert not collapsed(entropy)
    entropy[-1] = 0.29
    assert collapsed(entropy)
    entropy[-5] = 10.0
    assert collapsed(entropy)


def test_features_by_hand():
    """H falls by e^-.1 a row: log(H at the start / H) is .1 (row - 1) but for the mean of the first three."""
    entropy = np.exp(-0.1 * np.arange(7))
    shift = math.log((1 + math.exp(-0.1) + math.exp(-0.2)) / 3)
    run = watched({"entropy": entropy})
    assert warning.fall(run) == pytest.approx(np.mean([0.3, 0.4, 0.5, 0.6]) + shift)
    assert warning.pace(run) == pytest.approx(0.6)


def test_the_score_is_the_logistic_of_standardised_features():
    fit = warning.Fit(0.2, ("fall", "pace"), (1.0, 2.0), (0.5, 2.0), (3.0, -1.0), 0.25, 0.0, (0.1, 0.9))
    assert warning.logit(fit, np.array([2.0, 4.0])) == pytest.approx(0.25 + 6.0 - 1.0)


@pytest.mark.parametrize("share", [f.share for f in FITS])
def test_a_fast_fall_alarms_and_a_flat_line_does_not(share: float):
    """The first tenth tells nothing from chance (docs/warning.md), so nothing is asked of it but of its flat lines."""
    rows = round(100 * share)
    fast = [(FAST, True)] if share > 0.1 else []
    for entropy, alarm in (*fast, (FLAT, False), (FLAT[::-1] * np.linspace(1, 2, 100), False)):
        risk = collapse_risk({"entropy": entropy[:rows]}, steps=100)
        assert risk.alarm is alarm
        assert risk.alarm == (risk.score >= risk.threshold)
        assert 0 <= risk.score <= 1
        assert ("is likely to end below half" in risk.sentence) is alarm


def test_the_rates_stand_in_the_sentence():
    fit = FITS[1]
    risk = collapse_risk({"entropy": FAST[:20]})
    assert (risk.false_positive_rate, risk.detection_rate) == fit.rates
    assert f"finds {100 * fit.rates[1]:.0f} % of the collapses" in risk.sentence


def test_only_the_part_that_the_fit_is_for_is_looked_at():
    """At 25 of 100 steps the first 20 count, at 60 the first 30; without the length every row does."""
    early, late = collapse_risk({"entropy": FAST[:25]}, 100), collapse_risk({"entropy": FAST[:60]}, 100)
    assert early == collapse_risk({"entropy": FAST[:20]}, 100) == collapse_risk({"entropy": FAST[:20]})
    assert late == collapse_risk({"entropy": FAST[:30]}, 100)
    assert "first 20 %" in early.sentence
    assert "first 30 %" in late.sentence


def test_steps_count_and_not_rows():
    """A run that logs every second step."""
    step = np.arange(2, 102, 2)
    assert collapse_risk({"entropy": FAST[step - 1][:10], "step": step[:10]}, 100).sentence.startswith(
        "After the first 20 %"
    )


def test_a_run_of_few_rows_is_looked_at_from_six_rows_on():
    assert "first 10 %" in collapse_risk({"entropy": FAST[:6]}, 40).sentence


@pytest.mark.parametrize(
    ("metrics", "steps", "told"),
    [
        ({"entropy": FAST[:9]}, 100, "first warning is due after 10"),
        ({"entropy": FAST[:9]}, 8, "steps cannot be 8"),
        ({"entropy": FAST[:9], "step": np.arange(-8, 1)}, 8, "steps cannot be 8"),
        ({"entropy": FAST[:9], "step": np.full(9, 3)}, 10, "must increase"),
        ({"entropy": FAST[:9], "step": np.full(9, np.nan)}, 10, "step"),
        ({"entropy": FAST[:5]}, None, "at least 6 rows"),
        ({"reward": FAST}, None, "needs the entropy"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(metrics: dict, steps: int | None, told: str):
    with pytest.raises(UserError, match=told):
        collapse_risk(metrics, steps)


def test_entropy_of_zero_is_a_collapse_and_no_error():
    risk = collapse_risk({"entropy": np.r_[0.4, 0.4, 0.4, np.zeros(17)]})
    assert risk.alarm
    assert risk.score <= 1
