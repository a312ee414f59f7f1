"""CSV and JSON lines as people and crashes leave them."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure.logs import json_lines, read
from isotherm.measure.prognosis.prognosis import prognosis

NAN = np.nan


@pytest.fixture
def log_of(tmp_path):
    def make(content: str | bytes, name: str = "log", run: str = ""):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read(path, run)

    return make


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_byte_order_mark_and_carriage_returns(log_of):
    for content in (
        b"\xef\xbb\xbfstep,entropy\r\n1,0.5\r\n2,0.4\r\n",
        b'\xef\xbb\xbf{"step": 1, "entropy": 0.5}\r\n{"step": 2, "entropy": 0.4}\r\n',
    ):
        log = log_of(content)
        assert log.step.tolist() == [1, 2]
        assert log.series["entropy/unknown"].tolist() == [0.5, 0.4]
        assert not [note for note in log.notes if "left out" in note]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiters_and_quotes(delimiter, log_of):
    rows = [["step", '"entropy"', "note"], ["1", '"0.5"', '"a, b\n; c"'], ["2", "0.4", ""]]
    log = log_of("\n".join(delimiter.join(row) for row in rows) + "\n")
    assert log.series["entropy/unknown"].tolist() == [0.5, 0.4]


def test_cells_that_are_no_numbers(log_of):
    log = log_of("step,entropy,reward\n1,0.5,\n2,oops,1e-1\n3,nan,+.5\n4, 0.25 ,-Infinity\n5,None,x\n6,1_0,0x1\n")
    np.testing.assert_array_equal(log.series["entropy/unknown"], [0.5, NAN, NAN, 0.25])
    np.testing.assert_array_equal(log.series["reward/mean"], [NAN, 0.1, 0.5, NAN])
    assert "entropy has 2 values that are no numbers, such as 'oops'." in log.notes
    assert "reward has 2 values that are no numbers, such as 'x'." in log.notes
    assert "entropy/unknown is NaN or infinite at step 3." in log.notes
    assert "reward/mean is NaN or infinite at step 4." in log.notes


def test_values_in_json_that_are_no_numbers(log_of):
    values = ('"0.5"', "NaN", "null", "[1]", "1e999", "true", "9" * 400)
    log = log_of("".join(f'{{"step": {t}, "entropy": {value}}}\n' for t, value in enumerate(values, 1)))
    np.testing.assert_array_equal(log.series["entropy/unknown"], [0.5, NAN, NAN, 1, NAN])
    assert log.step.tolist() == [1, 2, 5, 6, 7]
    assert "entropy has 1 values that are no numbers, such as [1]." in log.notes
    assert "entropy/unknown is NaN or infinite at 3 steps, first at step 2." in log.notes


def test_the_quick_and_the_slow_way_agree(tmp_path, monkeypatch):
    """Nested values, nulls, missing keys, integers, NaN: the same numbers from Arrow's reader as line by line."""
    random = np.random.default_rng(0)
    rows = [{"step": t, "data": {"actor/entropy": random.normal(), "actor/lr": 1}} for t in range(3000)]
    rows[5]["data"]["actor/entropy"], rows[7]["data"] = None, {}
    rows[2900]["data"]["val-core/math/acc/mean@8"] = 0.5
    (tmp_path / "log").write_text(lines(*rows).replace('"actor/lr": 1}', '"actor/lr": NaN}', 2))
    quick = read(tmp_path / "log")
    with monkeypatch.context() as patch:
        patch.setattr(json_lines, "fast", lambda block, gathered: False)
        slow = read(tmp_path / "log")
    (tmp_path / "log").write_text((tmp_path / "log").read_text() + '{"step": 1, "data": "text"}\n' * 2)
    mixed = read(tmp_path / "log")
    for other in (slow, mixed):
        assert other.step.tolist() == quick.step.tolist()
        assert set(other.series) == set(quick.series)
        for name, values in quick.series.items():
            np.testing.assert_array_equal(other.series[name], values)
    assert quick.notes == slow.notes


def test_one_bad_line_does_not_make_all_go_the_slow_way(tmp_path, monkeypatch):
    path, seen = tmp_path / "log", []
    path.write_text(
        lines(*({"step": t, "entropy": 0.5, "more": "x" * 50} for t in range(20_000)))
        + "oops\n"
        + lines({"step": 20_000, "entropy": 1})
    )
    slow = json_lines.slow
    monkeypatch.setattr(json_lines, "slow", lambda block, *rest: seen.append(len(block)) or slow(block, *rest))
    log = read(path)
    assert len(log.step) == 20_001
    assert sum(seen) < 1 << 17 < path.stat().st_size
    assert "1 lines are no JSON objects, and are left out; the first is line 20001." in log.notes


def test_a_torn_last_line(log_of):
    whole = lines({"step": 1, "entropy": 0.5}, {"step": 2, "entropy": 0.4})
    for cut in range(len(whole) // 2 + 1, len(whole) - 2):
        log = log_of(whole[:cut])
        assert log.step.tolist() == [1]
        assert any("last line is cut off" in note for note in log.notes)
    assert log_of(whole[:-1]).step.tolist() == [1, 2]  # whole but for its line end
    table = log_of("step,entropy,reward\n1,0.5,0.25\n2,0.4")
    assert table.step.tolist() == [1]
    assert "1 lines have another number of cells, and are left out." in table.notes
    doubtful = log_of("step,entropy\n1,0.5\n2,0.4")
    assert doubtful.step.tolist() == [1, 2]
    assert "The last line has no line end; its last cell may be cut off." in doubtful.notes


def test_a_resumed_run_keeps_what_was_written_last(log_of):
    first = [{"step": t, "entropy": 1.0} for t in range(1, 9)]
    again = [{"step": t, "entropy": 2.0} for t in range(5, 7)]
    log = log_of(lines(*first, *again))
    assert log.step.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert log.series["entropy/unknown"].tolist() == [1, 1, 1, 1, 2, 2, 1, 1]
    assert "2 steps from 5 to 6 have several values of one series; the last is kept." in log.notes
    assert "The steps go back from 8 to 5, as after a resume; what was written last is kept." in log.notes
    assert "Steps 7 to 8 were written before that, and not again." in log.notes


def test_gaps(log_of):
    log = log_of(lines(*({"step": t, "entropy": 1.0} for t in (*range(10, 60, 10), *range(100, 130, 10), 160))))
    assert "Nothing is logged between steps 50 and 100, the widest of 2 gaps." in log.notes
    assert not [
        n for n in log_of(lines(*({"step": t, "entropy": 1.0} for t in range(0, 90, 10)))).notes if "Nothing" in n
    ]


def test_rows_without_a_step(log_of):
    log = log_of("step,entropy\n1,0.5\n,0.4\nx,0.3\n1.5,0.2\n1e300,0.1\n-1,0.9\n")
    assert log.step.tolist() == [-1, 1]
    assert "4 rows have no whole number as step, and are left out." in log.notes
    numbered = log_of("entropy,reward\n0.5,1\n0.4,2\n")
    assert numbered.step.tolist() == [1, 2]
    assert "There is no column of steps; the rows are numbered from 1." in numbered.notes


def test_a_trainers_own_step_goes_before_the_trackers(log_of):
    log = log_of(lines(*({"_step": 10 * t, "train/global_step": t, "train/entropy": 0.5} for t in (1, 2))))
    assert log.step.tolist() == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"step": 1, "entropy": ' + "[" * 100_000,
        '{"a":' * 20_000,
        '{"step": 1, "entropy": 0.5, "x": ' + '{"a":' * 5000 + "1" + "}" * 5000 + "}\n",
        b"\x00" * 1000,
        b"\xff\xfes\x00t\x00e\x00p\x00",
        "step,entropy\n",
        '"step,entropy\n1,2\n',
        "hello world\nthis is no log\n",
        "{}\n{}\n",
    ],
)
def test_what_is_no_log_ends_in_a_sentence(content, log_of):
    with pytest.raises(UserError, match=r"\.$"):
        log_of(content)


@pytest.mark.parametrize(("opened", "closed"), [('{"a":', "}"), ("[", "]"), ('[{"b":[],"a":', "}]")])
def test_a_bomb_of_brackets_is_a_bad_line(opened, closed, log_of):
    """Arrow's reader recurses, and would take the process with it."""
    bomb = '{"step": 2, "entropy": 0.5, "x": ' + opened * 100_000 + "1" + closed * 100_000 + "}\n"
    log = log_of(lines({"step": 1, "entropy": 0.25}) + bomb + lines({"step": 3, "entropy": 0.5}))
    assert log.step.tolist() == [1, 3]
    assert "1 lines are no JSON objects, and are left out; the first is line 2." in log.notes


def test_what_is_nested_a_little_costs_nothing_else(log_of):
    log = log_of('{"step": 1, "entropy": 0.5, "x": ' + '{"a":' * 900 + "1" + "}" * 900 + "}\n")
    assert log.series["entropy/unknown"].tolist() == [0.5]


def test_sentences_for_what_cannot_be_read(tmp_path, log_of):
    for content, sentence in (
        (b"", "is empty"),
        (b"\x1f\x8b\x08abc", "is packed with gzip"),
        (b"abc", "looked for a run folder of ours, TRL's"),
    ):
        with pytest.raises(UserError, match=sentence):
            log_of(content)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="the 0 files under"):
        read(tmp_path / "folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="cannot be read: Too many levels"):
        read(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read(tmp_path / "pipe")


def test_thousands_of_names_cost_no_memory(log_of):
    log = log_of(lines(*({"step": t, "entropy": 0.5, f"x{t}": 1.0} for t in range(8000))))
    assert len(log.step) == 8000
    assert len([note for note in log.notes if "other names are not read" in note]) == 1


def test_both_kinds_of_text_among_numbers_in_a_large_file(log_of):
    """More than one block, so that block boundaries fall into lines."""
    count = 70_000
    rows = lines(*({"step": t, "entropy": t / count, "pad": "y" * 120} for t in range(count)))
    assert len(rows) > json_lines.BLOCK
    log = log_of(rows)
    np.testing.assert_array_equal(log.series["entropy/unknown"], np.arange(count) / count)


def test_lines_longer_than_the_head_that_is_looked_at(log_of):
    long = {f"timing/{i}": 1.0 for i in range(5000)}
    log = log_of(lines({"step": 1, **long, "entropy": 0.5}, {"step": 2, **long, "entropy": 0.25}))
    assert log.series["entropy/unknown"].tolist() == [0.5, 0.25]


def test_rows_longer_than_a_block_of_the_table(log_of):
    """Arrow takes none that is longer than two blocks, so such a file is read in larger ones."""
    for text in ("x" * 5_000_000, '"' + ("x" * 99 + "\n") * 50_000 + '"'):
        rows = [f"{step},0.{step},{text if step == 20 else 'y'}" for step in range(1, 40)]
        log = log_of("\n".join(["step,actor/entropy,completion", *rows, ""]))
        assert log.step.tolist() == list(range(1, 40))


def test_series_of_whole_numbers_and_of_every_second_step(log_of):
    rows = [f"{step},{step % 3},{step if step % 2 else ''}" for step in range(1, 9)]
    log = log_of("\n".join(["step,actor/entropy,actor/grad_norm", *rows, ""]))
    assert log.series["entropy/exact"].tolist() == [1, 2, 0, 1, 2, 0, 1, 2]
    assert log.series["update/grad_norm"][::2].tolist() == [1, 3, 5, 7]
    assert np.isnan(log.series["update/grad_norm"][1::2]).all()


def test_rollouts_and_settings_beside_metrics_are_no_second_log(tmp_path):
    (tmp_path / "verl.jsonl").write_text(lines({"step": 1, "data": {"actor/entropy": 0.5}}))
    (tmp_path / "1.jsonl").write_text(lines({"input": "q", "output": "a", "score": 1.0, "step": 1}) * 3)
    (tmp_path / "config.json").write_text('{\n  "lr": 1e-6,\n  "steps": 100\n}\n')
    assert read(tmp_path).source.file.name == "verl.jsonl"


def test_a_wandb_like_table_of_millions_is_bounded_by_its_known_columns(log_of):
    """Unknown columns are not kept: what is gathered is the steps and one series."""
    content = lines(*({"step": t, "entropy": 1.0, **{f"other/{i}": 1.0 for i in range(20)}} for t in range(2000)))
    gathered = json_lines.Gathered()
    assert json_lines.parsed(content.encode(), False, 0, gathered) == []
    assert list(gathered.points_of) == ["entropy"]


@pytest.mark.parametrize(
    "rows", ['6,"0.3,0.2\n', '6,"0.3,0.2\n30,"0.3,0.2\n', '6,0.3,"0.2\n', '6,0.3,0.2\n7,0.3,"0.2\n'], ids=repr
)
def test_a_quote_that_is_not_closed_swallows_no_rows(rows, log_of):
    for note in ("reward", "note"):
        with pytest.raises(UserError, match="a quote that is not closed"):
            log_of(f"step,entropy,{note}\n1,0.5,0.2\n{rows}" + "".join(f"{t},0.2,0.1\n" for t in range(8, 20)))
    torn = log_of('step,entropy,note\n1,0.5,a\n2,0.4,"a text\nof two lines, cut')
    assert torn.series["entropy/unknown"].tolist() == [0.5, 0.4]


def test_of_columns_of_one_name_the_first_is_read_and_it_is_said(log_of):
    log = log_of("step,step,entropy,entropy\n1,5,0.5,9\n2,6,0.4,9\n")
    assert (log.step.tolist(), log.series["entropy/unknown"].tolist()) == ([1, 2], [0.5, 0.4])
    assert "Several columns are named step; the first of them is read." in log.notes
    assert "Several columns are named entropy; the first of them is read." in log.notes


@pytest.mark.parametrize("content", ["step,entropy\n1,0.5\n2,0.4\n", lines({"step": 1, "entropy": 0.5})])
def test_a_run_that_is_not_there_is_refused_where_there_is_only_one(content, log_of):
    with pytest.raises(UserError, match="holds one run without a name, so there is no run 'nosuch'"):
        log_of(content, run="nosuch")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("step,entropy\n1.5,2\n2.5,3\n", "2 rows have no whole number as step"),
        (lines({"step": 1.5, "entropy": 0.5}), "1 rows have no whole number as step"),
        ("step;entropy\n1;0,5\n2;0,4\n", "such as '0,5': a decimal point is read, a decimal comma is not"),
        ("step,entropy\n1,0.5\n".encode("utf-16"), "is UTF-16; write it as UTF-8"),
        ("step,entropy\r1,0.5\r2,0.4\r", "end in carriage returns alone"),
    ],
)
def test_a_refusal_says_the_cause(content, cause, log_of):
    with pytest.raises(UserError, match=cause):
        log_of(content)


def test_notes_do_not_contradict_the_log(log_of):
    log = log_of("step,entropy\na,2\nb,3\n")
    assert "step holds no numbers; the rows are numbered from 1." in log.notes
    assert log_of("step,entropy\n\n1,0.5\n2,0.4\n").step.tolist() == [1, 2]  # a blank line under the names


@pytest.mark.parametrize(("value", "why"), [("nan", "is NaN or infinite"), ("1e308", "is beyond 1e\\+100")])
def test_an_entropy_without_a_number_is_none(value, why, log_of):
    log = log_of("step,entropy\n" + "".join(f"{t},{value}\n" for t in range(1, 30)))
    with pytest.raises(UserError, match=f"Found were: no numbers at all. entropy/unknown {why} at 29 steps"):
        prognosis(log)
