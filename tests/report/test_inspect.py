"""The microscope's page: its data are the numbers, and nothing that a model wrote becomes markup or script."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import time

import numpy as np
import pytest
from specimens import add_measured, make_exports, make_rollout, make_run, make_torch_dump
from test_page import structure

from isotherm.cli import main
from isotherm.errors import UserError
from isotherm.report import inspect as microscope
from isotherm.report.inspect import inspect, page
from isotherm.report.inspected import of_run
from isotherm.report.pack import halves, packed, reach, script_data, unhalved
from isotherm.report.specimen import KINDS, Quantity, words
from isotherm.rollout import store

HOSTILE = "</script><script>alert(1)</script><!--\x00\x1b[31m]]>\u202e\u2028\"'&amp;<img src=x onerror=alert(1)>"


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="specimen">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("microscope") / "run")
    add_measured(run, make_rollout(), np.array([True, True, True, True, False, False]))
    return run


@pytest.fixture(scope="module")
def text(folder):
    return inspect(folder, 3).read_text(encoding="utf-8")


def test_the_values_on_the_page_are_those_computed(folder, text):
    specimen, data = of_run(folder, 3), data_of(text)
    names = ["entropy", "surprisal", "advantage", "covariance", "predicted", "weight", "coefficient:kl_cov", "measured"]
    assert [q["name"] for q in data["quantities"]] == names
    for told, quantity in zip(data["quantities"], specimen.quantities, strict=True):
        np.testing.assert_allclose(unhalved(told["data"], told["scale"]), quantity.values, rtol=2**-11, atol=1e-9)
    token = np.frombuffer(base64.b64decode(data["token"]), "<u2")
    assert [data["ids"][i] for i in token] == specimen.ids.tolist()
    assert [data["words"][i] for i in token] == [specimen.words[i] for i in specimen.ids]


def test_what_the_filters_need(folder, text):
    rollout, data = make_rollout(), data_of(text)
    assert data["length"] == rollout.length.tolist()
    assert data["group"] == [0, 0, 1, 1, 2, 2]
    assert data["sample"] == [0, 1, 0, 1, 0, 1]
    assert data["families"] == ["countdown", "chain", "chain"]
    assert data["verdicts"] == [v.value for v in rollout.verdicts]
    assert data["reward"] == rollout.reward.tolist()
    assert data["prompts"] == [p.prompt for p in rollout.problems]
    quadrant = np.frombuffer(base64.b64decode(data["quadrant"]), "u1")
    expected = of_run(folder, 3).quadrant
    assert expected is not None
    assert quadrant.tolist() == expected.tolist()
    assert set(quadrant[-3:]) == {0}, "the last group has no signal"


def test_the_page_needs_nothing_and_runs_its_own_script_alone(text):
    found = structure(text)
    assert not found.tags & {"link", "img", "iframe", "object", "embed", "base", "form"}
    assert not found.references
    assert not re.search(r"https?:|@import|url\(", text)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", script[0])
    assert "<noscript><p><strong>The responses are drawn by a script" in text
    assert "The tokens that moved the most: predicted change" in text
    assert "The tokens that moved the most: measured change" in text


def test_the_token_that_moved_the_most_stands_first(folder, text):
    measured = of_run(folder, 3).quantities[-1].values
    largest = int(np.nanargmax(np.abs(measured)))
    table = text.split("measured change</summary>")[1]
    assert re.findall(r'data-token="(\d+)"', table)[0] == str(largest)
    assert f"<td>{measured[largest]:.3g}</td>" in table


def test_what_a_model_wrote_cannot_become_markup_or_script(tmp_path):
    specimen = of_run(make_run(tmp_path), 3)
    hostile = dict.fromkeys(specimen.words, HOSTILE)
    text = page(dataclasses.replace(
        specimen, title=HOSTILE, words=hostile, prompts=[HOSTILE] * 3, families=[HOSTILE] * 3, notes=[HOSTILE]
    ))  # fmt: skip
    found = structure(text)
    assert "img" not in found.tags
    assert text.count("<script") == 2
    assert text.count("</script") == 2
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert data_of(text)["prompts"][0].startswith("</script><script>alert(1)</script><!--␀␛[31m")


def test_data_cannot_end_their_element():
    text = script_data({"a": "</script><!--<script>&\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--<script>&\u2028"}


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 3e4, 1e30])
def test_halves_keep_three_digits(size):
    values = size * np.array([1.0, -0.123456, 1e-3, 1e-6, 0.0, np.nan, 0.9999999])
    text, scale = halves(values)
    np.testing.assert_allclose(unhalved(text, scale), values, rtol=2**-11)
    assert np.log2(scale) == int(np.log2(scale))


def test_halves_of_nothing_and_of_infinity():
    assert unhalved(*halves(np.array([0.0, np.nan]))).tolist()[0] == 0
    assert unhalved(*halves(np.array([np.inf, -1.0]))).tolist() == [np.inf, -1.0]


def test_colours_end_at_the_99th_percentile():
    values = np.concatenate([np.zeros(1000), np.arange(1, 101.0), [np.nan]])
    assert reach(Quantity("entropy", KINDS["entropy"], values)) == pytest.approx(np.quantile(np.arange(1, 101), 0.99))
    assert reach(Quantity("entropy", KINDS["entropy"], np.zeros(3))) == 1


def test_a_thousand_responses_of_two_hundred_tokens_stay_small(tmp_path):
    rollout, count = make_rollout(), 1000 * 200
    random = np.random.default_rng(0)
    specimen = dataclasses.replace(
        of_run(make_run(tmp_path), 3), group=np.arange(1000) // 334, sample=np.arange(1000),
        ids=random.integers(3, 99, count),
        length=np.full(1000, 200), reward=np.zeros(1000), verdicts=["wrong"] * 1000,
        words=dict.fromkeys(range(99), "x"), quadrant=random.integers(0, 5, count),
        prompts=[p.prompt for p in rollout.problems],
        quantities=[Quantity(n, KINDS[n], random.normal(size=count)) for n in list(KINDS)[:8]],
    )  # fmt: skip
    begin = time.process_time()
    assert len(page(specimen)) < 6_000_000
    assert time.process_time() - begin < 5


def test_too_many_tokens_are_cut_and_said(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(microscope, "MOST", 9)
    text = inspect(folder, out=tmp_path / "x.html").read_text(encoding="utf-8")
    assert data_of(text)["length"] == [4, 2, 3]
    assert "Of 6 responses these are the first 3." in text


def test_many_ids_take_wider_places(tmp_path):
    specimen = of_run(make_run(tmp_path), 3)
    ids = np.arange(70_000)
    none = dataclasses.replace(specimen, words={}, ids=ids, length=np.array([70_000]), quadrant=None, quantities=[])
    data = packed(none)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(data["token"]), "<u4"), ids)
    assert data["words"] is None


def test_tokens_are_spelled_one_by_one():
    from tokenizers import Tokenizer, decoders, models

    vocabulary = {"\N{LOWER ONE EIGHTH BLOCK}the": 0, "ing": 1, "<0xE2>": 2, "<unk>": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])  # pyright: ignore
    assert words(tokenizer, [0, 1, 2, 77]) == {0: " the", 1: "ing", 2: "<0xE2>", 77: "[77]"}


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    assert main(["inspect", str(folder), "--step", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "microscope.html")
    assert main(["inspect", str(folder), "--step", "4"]) == 2
    assert "no stored rollout of step 4; it has 3." in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "gone")]) == 2
    assert "does not exist; give a run folder, or a token dump" in capsys.readouterr().err
    assert main(["inspect", str(folder), "--out", str(folder)]) == 2
    assert "cannot be written: it is a folder" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    for source in (make_exports(tmp_path / "out"), make_torch_dump(tmp_path / "p_4.pt")):
        assert main(["inspect", str(source), "--model", "builtin", "--out", "new/page.html"]) == 0
        assert data_of((tmp_path / "new" / "page.html").read_text(encoding="utf-8"))["words"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "folder"])
def test_a_damaged_rollout_is_a_sentence(tmp_path, damage):
    folder = make_run(tmp_path)
    path = store.path_of(folder, 3)
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    with pytest.raises(UserError, match="cannot be read"):
        inspect(folder)


@pytest.mark.parametrize("settings", [{"updates": 0}, {"signal": "x"}, {"method": 7}, {"seed": "x"}])
def test_settings_that_make_no_sense_are_a_sentence(tmp_path, settings):
    folder = make_run(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError):
        inspect(folder)
