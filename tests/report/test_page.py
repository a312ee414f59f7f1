"""The page: whole, self-contained, safe, light, and saying what the numbers say."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from folders import make_run, write_eval

from isotherm.errors import UserError
from isotherm.report import figures
from isotherm.report.page import write_report
from isotherm.report.panels import Panel
from isotherm.report.summary import sentences
from isotherm.report.text import clean, escape, labels
from isotherm.runs import load_run

VOID = {"meta", "br", "img", "input", "link", "hr"}
REFERENCES = {"href", "src", "xlink:href", "srcset", "action"}


class Structure(HTMLParser):
    """Checks that elements close in order, and collects tags, ids and references."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open += [tag] if tag not in VOID else []
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name in REFERENCES]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def structure(text: str) -> Structure:
    parser = Structure()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    make_run(root / "a")
    make_run(root / "b", method="grpo + par", floor=0.15)
    return [load_run(root / "a"), load_run(root / "b")]


@pytest.fixture(scope="module")
def text(pair, tmp_path_factory):
    return write_report(pair, tmp_path_factory.mktemp("out") / "new" / "two.html").read_text(encoding="utf-8")


def test_is_well_formed_and_needs_no_network(text):
    page = structure(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert page.references
    assert all(reference.startswith("#") for reference in page.references)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert len(set(page.ids)) == len(page.ids)
    assert {reference[1:] for reference in page.references} <= set(page.ids)


def test_shows_every_figure_with_its_unit_and_definition(text):
    for title in ("Entropy", "Reward", "pass@1 in training", "pass@1 in evaluation", "pass@16 in evaluation",
                  "pass@1 against entropy", "Response length", "Gradient norm", "Sampler mismatch", "Reliability",
                  "Entropy along the response"):  # fmt: skip
        assert f'<h3>{title} <span class="unit">' in text
    assert text.count("<svg") == 11
    assert "Exact entropy of the full next-token distribution" in text
    assert "var(--run0)" in text
    assert "var(--run1)" in text
    assert "#0300" not in text
    assert "prefers-color-scheme: dark" in text


def test_says_what_happened(pair):
    first, second, comparison, caution = sentences(pair)
    ends = [run.ends("entropy/exact", 10) for run in pair]
    assert first.startswith("grpo: over 100 steps the entropy went from ")
    assert f"{100 * ends[0][1] / ends[0][0]:.1f}\N{NO-BREAK SPACE}% of it is left" in first
    assert "On the held-out families" in second
    assert f"{ends[1][1] / ends[0][1]:.2f} times as much" in comparison
    assert comparison.startswith("grpo + par ended with more entropy than grpo")
    assert "lower (" in comparison
    assert "n = 1 seed" in caution


def test_says_what_else_differs(pair, tmp_path):
    other = load_run(make_run(tmp_path / "c", method="x", lr=1e-3))
    assert sentences([pair[0], other])[-1].endswith("The runs also differ in lr.")


def test_runs_without_entropy_are_not_compared(pair, tmp_path):
    folder = make_run(tmp_path / "c", method="x", steps=4)
    (folder / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 0.5}\n')
    assert sentences([pair[0], load_run(folder)])[-1] == "Not every run has an entropy, so they are not compared."


def test_seeds_of_one_method_are_not_ranked(pair, tmp_path):
    other = load_run(make_run(tmp_path / "c", seed=1))
    last = sentences([pair[0], other])[-1]
    assert last.startswith("These 2 runs differ only in their seed. They ended with entropy from ")
    assert labels([pair[0], other]) == ["grpo, seed 0", "grpo, seed 1"]


def test_several_seeds_per_method_are_averaged(tmp_path):
    runs = [
        load_run(make_run(tmp_path / f"{method}{seed}", method, seed, steps=8, floor=floor))
        for method, floor in (("a", 0.1), ("b", 0.2))
        for seed in (0, 1)
    ]
    means = [np.mean([run.ends("entropy/exact")[1] for run in part]) for part in (runs[:2], runs[2:])]
    *_, comparison, caution = sentences(runs)
    assert comparison.startswith("b ended with more entropy than a: ")
    assert f"{means[1] / means[0]:.2f} times as much" in comparison
    assert "at least 2 seeds" in caution


def test_only_settings_that_differ_stand_outside_the_fold(text):
    shown, folded = text.split("<h2>Settings</h2>")[1].split("</section>")[0].split("<details>")
    assert re.findall(r'<th scope="row">(\w+)', shown) == ["method"]
    assert "prompts" in folded
    assert "0.0003" in folded
    assert "out" not in re.findall(r'<th scope="row">(\w+)', folded)


def test_verdicts_are_worded_and_equal_starts_are_merged(text):
    examples = text.split("<h2>Responses before and after</h2>")[1]
    assert examples.count("<article>") == 6
    assert "all runs before" in examples
    for mark in ("✓ correct", "✗ wrong", "? unparsed", "! error"):
        assert f"<b>{mark}</b>" in examples


HOSTILE = "<script>alert(1)</script>\x00\x1b[31m</pre>\u202e\"'&amp;"


def test_what_models_and_users_wrote_cannot_become_markup(tmp_path):
    folder = make_run(tmp_path / "a", method="<b onclick=x>\ud800", steps=8, note=HOSTILE)
    for step in (0, 8):
        write_eval(folder, step, np.random.default_rng(0), HOSTILE)
    text = load_run(folder).report().read_text(encoding="utf-8")
    page = structure(text)
    assert "script" not in page.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;␀␛[31m&lt;/pre&gt;" in text
    assert "<b onclick" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff\u202e]", text)


@pytest.mark.parametrize("code", [0, 7, 13, 0x7F, 0x9B, 0xD800, 0xDFFF, 0x202E, 0x2066, 0xFFFF])
def test_no_character_that_cannot_be_shown(code):
    assert chr(code) not in clean(f"a{chr(code)}b")
    escape(chr(code)).encode("utf-8")


def test_long_responses_are_shortened_and_say_so(tmp_path):
    folder = make_run(tmp_path / "a", steps=4)
    write_eval(folder, 4, np.random.default_rng(0), "z" * 50_000)
    text = load_run(folder).report().read_text(encoding="utf-8")
    assert "(48,000 more characters)" in text
    assert "z" * 2001 not in text


def test_ten_thousand_steps_stay_light(tmp_path):
    runs = [load_run(make_run(tmp_path / str(seed), seed=seed, steps=10_000)) for seed in range(2)]
    begin = time.process_time()
    out = write_report(runs, tmp_path / "big.html")
    assert time.process_time() - begin < 8
    assert out.stat().st_size < 2_000_000
    assert "Of 10,001 steps at most 500 values are drawn" in out.read_text(encoding="utf-8")


def test_decimation_keeps_spikes_and_running_mean_keeps_a_line():
    x, y = np.arange(10_000.0), np.zeros(10_000)
    y[4321] = 9
    a, b = figures.decimate(x, y, 500)
    assert len(a) <= 500
    assert b[a == 4321] == [9]
    assert figures.running_mean(x, 101)[200:-200] == pytest.approx(x[200:-200])
    assert figures.running_mean(x[:3], 1).tolist() == [0, 1, 2]
    assert figures.running_mean(np.ones(7), 50) == pytest.approx(np.ones(7))


def test_runs_with_little_to_show(tmp_path):
    folder = make_run(tmp_path / "a", steps=4)
    (folder / "environment.json").unlink()
    (folder / "timings.jsonl").unlink()
    for path in (folder / "rollouts").iterdir():
        path.unlink()
    (folder / "metrics.jsonl").write_text('{"step": 1, "entropy/exact": null, "knob/beta": 0.5, "mismatch/mean": 0}\n')
    run = load_run(folder)
    text = run.report().read_text(encoding="utf-8")
    structure(text)
    assert "Control beta" in text
    assert "Responses before and after" not in text
    structure(write_report([run, run], tmp_path / "twice.html").read_text(encoding="utf-8"))


def test_what_was_measured_exactly_is_shown_where_it_was_measured(tmp_path):
    folder = make_run(tmp_path / "a", steps=4)
    assert "Where Adam took the entropy" not in load_run(folder).report().read_text(encoding="utf-8")
    row = {"step": 5, "method/change": 0.5, "method/change_exact": 0.25, "dynamics/adam_step/negative": -0.002}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    text = load_run(folder).report().read_text(encoding="utf-8")
    structure(text)
    assert "Where Adam took the entropy" in text
    assert "gradients in the space of the parameters" in text
    assert text.index("method/change<") < text.index("method/change_exact<")


def test_a_failed_write_leaves_the_old_page(pair, tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    out.write_text("old")
    monkeypatch.setattr("isotherm.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(UserError, match=r"report\.html cannot be written: full"):
        write_report(pair[:1], out)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_no_runs():
    with pytest.raises(UserError, match="at least one run"):
        write_report([], "x.html")  # pyright: ignore[reportArgumentType]


class Drawn:
    """Axes that keep the y values of what is drawn on them."""

    def __init__(self) -> None:
        self.lines: list[np.ndarray] = []

    def plot(self, x, y, **_) -> None:
        self.lines.append(np.asarray(y))


def test_a_total_is_the_sum_up_to_each_step(tmp_path):
    run = load_run(make_run(tmp_path / "run", steps=8))
    axes = Drawn()
    figures.plot_steps(axes, Panel("Total", "", ("reward/mean",), total=True), run, "#000000", 500)
    values = run.metrics["reward/mean"][1:]
    assert axes.lines[0] == pytest.approx([values[: n + 1].sum() for n in range(8)])
