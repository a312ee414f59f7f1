"""The tables of where the change of entropy came from, on the page of a run."""

from __future__ import annotations

import re

import numpy as np
import pytest
from folders import MEASURED, made_up, make_run, write_measured

from isotherm.report.origins import origins, tops
from isotherm.report.page import page
from isotherm.report.text import number
from isotherm.runs import Run, load_run


@pytest.fixture
def run(tmp_path) -> Run:
    write_measured(make_run(tmp_path / "a", steps=20))
    return load_run(tmp_path / "a")


def cells(html: str) -> list[str]:
    return re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", html)


def test_covariance_by_top_share_by_hand(run):
    """Of 300 and 310 tokens the top 2 % are 6 and 7, and the top .02 % one; means over eight updates."""
    each = [np.sort(made_up(s, u, 0.01)["covariance"])[::-1] for s in MEASURED for u in (0, 1)]
    found = dict(zip(cells(tops(run))[1:7], cells(tops(run))[8:], strict=True))
    assert list(found) == ["top 0.02 %", "top 0.2 %", "top 2 %", "top 20 %", "top 50 %", "all"]
    assert found["top 0.02 %"] == found["top 0.2 %"] == number(float(np.mean([c[0] for c in each])))
    assert found["top 2 %"] == number(float(np.mean([c[: -(-len(c) // 50)].mean() for c in each])))
    assert found["all"] == number(float(np.mean([c.mean() for c in each])))


def test_the_page_has_every_split(run):
    text = page([run])
    section = text[text.index("Where the change of entropy came from") : text.index("Responses before")]
    found = cells(section)
    for label in ("negative", "zero", "positive", "I", "II", "III", "IV", "0: to 0.02 %", "5: to 100 %"):
        assert label in found
    assert section.count("<details>") == 3
    updates = [made_up(s, u, 0.01) for s in MEASURED for u in (0, 1)]
    wanted = np.mean([u["measured"][u["advantage"] < 0].sum() / len(u["measured"]) for u in updates])
    assert found[found.index("negative") + 3] == number(float(wanted))


def test_runs_without_measured_updates_have_no_section(run, tmp_path):
    other = load_run(make_run(tmp_path / "b", steps=20))
    assert origins([other], ["b"]) == ""
    assert origins([other, run], ["other name", "this name"]).count("this name") == 1
    assert "other name" not in origins([other, run], ["other name", "this name"])
    assert "Where the change" not in page([other])


def test_damaged_measurements_are_a_sentence_on_the_page(run):
    (run.path / "dynamics" / "step-000010.parquet").write_bytes(b"PAR1")
    text = origins([run], ["<b>a</b>"])
    assert "cannot be read" in text or "damaged" in text
    assert "<table" not in text
