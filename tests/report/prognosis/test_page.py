"""The page says the numbers of the functions, in text, JSON and HTML; nothing of a log gets into it unescaped."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from planted import columns, planted, rows_of, written

from isotherm.errors import UserError
from isotherm.measure.logs import read
from isotherm.measure.prognosis.diagnosis import diagnosis
from isotherm.measure.prognosis.prognosis import prognosis
from isotherm.report.prognosis import page
from isotherm.report.prognosis.numbers import estimate, near, step


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return read(planted(tmp_path_factory.mktemp("log") / "log.jsonl"))


@pytest.fixture(scope="module")
def future(log):
    return prognosis(log, until=200)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_numbers_on_the_page_are_those_of_the_functions(future):
    said = flat(page.text(future))
    assert f"the reward at step 200 is expected at {estimate(future.forecast.end_to_end)}" in said
    assert f"a = {near(future.law.a)} and b = {near(future.law.b)}" in said
    assert f"the ceiling, is {estimate(future.law.ceiling)}" in said
    assert f"90 % of the fall of entropy was done by step {estimate(future.exhaustion.step, step)}" in said
    assert f"Entropy (entropy/exact) went from {near(future.entropy_ends.start)} to" in said
    assert f"and {near(future.hindcast.observed)} was seen" in said


def test_json_has_every_number_and_no_arrays(future):
    text = json.dumps(page.as_json(future), allow_nan=False)
    value = json.loads(text)
    assert value["law"]["a"] == future.law.a
    assert value["forecast"]["end_to_end"]["low"] == future.forecast.end_to_end.low
    assert value["step"] == {"first": 1, "last": 120, "rows": 120}
    assert "noise" not in value["law"]
    assert len(text) < 20_000
    assert next(iter(value["page"])) == "In short"


def test_json_of_what_is_not_finite_is_null():
    assert page.plain({"x": np.float64("nan"), "y": [np.inf, 1.0]}) == {"x": None, "y": [None, 1.0]}


def test_the_page_needs_no_network_and_has_its_figures(future, log):
    for found, figures in ((future, 3), (diagnosis(log), 3)):
        html = page.page(found)
        assert html.count("<svg") == figures
        assert not re.search(r"https?://|<script|@import", html)
        assert len(html) < 200_000


def test_a_log_cannot_write_into_the_page(tmp_path):
    evil = "<script>\x1b[2Jentropy</script>"
    rows = [{"step": r["step"], evil: r["actor/entropy"], "reward": r["critic/score/mean"]} for r in rows_of(columns())]
    (tmp_path / "<b>").mkdir()
    log = read(written(tmp_path / "<b>" / "log.jsonl", rows), columns={evil: "entropy/exact"})
    for found in (prognosis(log), diagnosis(log)):
        assert "\x1b" not in page.text(found)
        html = page.page(found)
        assert "<script" not in html
        assert "<b>" not in html
        assert "&lt;script&gt;" in html


def test_settings_are_not_wrapped(log):
    lines = page.text(diagnosis(log), 60).splitlines()
    assert any("actor_rollout_ref.actor.clip_ratio_low=0.2 actor_rollout_ref.actor.clip_ratio_high" in x for x in lines)
    assert all(len(x) <= 60 for x in lines if "actor_rollout_ref" not in x and "/log.jsonl" not in x)


def test_a_short_log_has_a_page_too(tmp_path):
    log = read(planted(tmp_path / "log.jsonl", rows=4))
    for found in (prognosis(log), diagnosis(log)):
        page.page(found)
        json.dumps(page.as_json(found), allow_nan=False)
        assert "at least 12 rows, but there are 4" in flat(page.text(found))


def test_files_that_cannot_be_written_are_a_sentence(future, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        page.write(future, str(tmp_path / "none" / "x.json"), "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        page.write(future, "", str(tmp_path / "folder"))
    assert page.write(future, str(tmp_path / "a.json"), str(tmp_path / "a.html")) == [
        tmp_path / "a.json",
        tmp_path / "a.html",
    ]
