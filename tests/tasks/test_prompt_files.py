"""A user's own file of prompts and answers."""

from __future__ import annotations

import json

import pytest

from isotherm.errors import UserError
from isotherm.records import Verdict
from isotherm.tasks import read_problems, verify

GOOD = '{"prompt": "2+2=", "answer": 4}\n'


def test_rows_become_problems(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(GOOD + '\n{"prompt": "Half of one?", "answer": "1/2", "source": "me"}\r\n' + GOOD)
    problems = read_problems(path)
    assert [each.prompt for each in problems] == ["2+2=", "Half of one?", "2+2="]
    assert [each.data for each in problems] == [{"answer": "4"}, {"answer": "1/2"}, {"answer": "4"}]
    assert {each.family for each in problems} == {"file"}
    assert json.loads(json.dumps(problems[0].data)) == problems[0].data


@pytest.mark.parametrize(
    ("answer", "response", "expected"),
    [
        (4, "The answer is 4.", Verdict.CORRECT),
        (4, "4 or rather 5", Verdict.WRONG),
        (4, "four", Verdict.UNPARSED),
        (4, "", Verdict.UNPARSED),
        (4.0, "4", Verdict.CORRECT),
        (0.1, "0.1", Verdict.CORRECT),
        (0.1, "0.1000000000000000055", Verdict.WRONG),
        ("0.5", "so 1/2", Verdict.CORRECT),
        ("1/2", ".5", Verdict.CORRECT),
        (-5, "x=-5", Verdict.CORRECT),
        (-5, "x=\u22125", Verdict.CORRECT),
        (5, "10-5", Verdict.CORRECT),
        (-5, "10-5", Verdict.WRONG),
        (1234567, "It is $1,234,567.", Verdict.CORRECT),
        (76, "42,84,76", Verdict.CORRECT),
        ("1,234", "1234", Verdict.CORRECT),
        (4, "1/0", Verdict.UNPARSED),
        (4, "9" * 5000, Verdict.UNPARSED),
        (4, "9" * 10**6 + " 4", Verdict.CORRECT),
        (4, "٤", Verdict.UNPARSED),
        (4, "nan", Verdict.UNPARSED),
        (1e20, "100000000000000000000", Verdict.CORRECT),
        ("Paris", "Let me think.\n\n Paris \n", Verdict.CORRECT),
        ("Paris", "Paris\nLondon", Verdict.WRONG),
        ("Paris", "It is Paris", Verdict.WRONG),
        (" Paris ", "Paris", Verdict.CORRECT),
        ("Paris", " \n", Verdict.UNPARSED),
    ],
)
def test_answers(tmp_path, answer, response, expected):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"prompt": "?", "answer": answer}))
    assert verify(read_problems(path)[0], response) is expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["no problem"]),
        (b" \n\n", ["no problem"]),
        (b"\xef\xbb\xbf" + GOOD.encode(), ["byte-order mark"]),
        (b"\xff\xfe", ["UTF-8"]),
        (GOOD.encode() + b'{"prompt": "\0", "answer": 1}', ["row 2", "NUL"]),
        (GOOD.encode() + b"prompt: 2", ["row 2", "not JSON"]),
        (b"[" * 100_000, ["row 1", "not JSON"]),
        (b'["2+2=", 4]', ["row 1", "a list", "prompt and answer"]),
        (b"null", ["row 1", "null"]),
        (b"7", ["row 1", "a number"]),
        (b'{"answer": 4}', ["row 1", "field prompt", "missing", "answer"]),
        (b'{"prompt": "2+2="}', ["row 1", "field answer", "missing"]),
        (b"{}", ["row 1", "field prompt", "no field"]),
        (b'{"prompt": "2+2=", "answer": null}', ["row 1", "field answer", "null", "a text or a number"]),
        (b'{"prompt": "2+2=", "answer": true}', ["field answer", "a boolean"]),
        (b'{"prompt": "2+2=", "answer": [4]}', ["field answer", "a list"]),
        (b'{"prompt": "2+2=", "answer": " "}', ["field answer", "empty"]),
        (b'{"prompt": "2+2=", "answer": NaN}', ["field answer", "not a number"]),
        (b'{"prompt": "2+2=", "answer": 1e999}', ["field answer", "infinite"]),
        (b'{"prompt": "2+2=", "answer": 1e-300}', ["field answer", "longer than 40"]),
        (b'{"prompt": "2+2=", "answer": 1e-400}', ["field answer", "longer than 40"]),
        (b'{"prompt": "2+2=", "answer": 1e999999999}', ["field answer", "longer than 40"]),
        (b'{"prompt": "2+2=", "answer": 1e9999999999999999999}', ["row 1", "not JSON"]),
        (b'{"prompt": "2+2=", "answer": 4, "answer": 5}', ["row 1", "a key stands twice"]),
        (b'{"prompt": "2+2=", "answer": "one\\ntwo"}', ["row 1", "field answer would not be found"]),
        (GOOD.encode() + b'{"prompt": "?", "answer": "' + b"x" * 10_001 + b'"}', ["row 2", "at most 10000 characters"]),
        (GOOD.encode() + b'{"prompt": "' + b"x" * 200_000 + b'", "answer": 4}', ["row 2", "200000 characters"]),
        (b'{"prompt": "2+2=", "answer": ' + b"9" * 5000 + b"}", ["field answer", "longer than 40"]),
        (b'{"prompt": 4, "answer": 4}', ["field prompt", "a number", "a text"]),
        (b'{"prompt": "", "answer": 4}', ["row 1", "field prompt", "empty"]),
        (b'{"prompt": "\\ud800", "answer": 4}', ["field prompt", "surrogate"]),
        (b'{"prompt": "\\u0000", "answer": 4}', ["field prompt", "NUL"]),
        (GOOD.encode() + b'\n{"prompt": "2+2=", "answer": 5}', ["row 3", "answer", "row 1"]),
    ],
)
def test_mistakes_are_named(tmp_path, content, words):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_problems(path)
    assert all(word in str(caught.value) for word in [str(path), *words]), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("written", ["0.12345678901234567891", "100000000000000000001", "-0.10", "12345678.90"])
def test_a_number_keeps_its_written_form(tmp_path, written):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "?", "answer": ' + written + "}")
    problem = read_problems(path)[0]
    assert problem.data == {"answer": written}
    assert verify(problem, written) is Verdict.CORRECT


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_problems(path)


def test_one_prompt_may_give_equal_answers_twice(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "?", "answer": "1/2"}\n{"prompt": "?", "answer": 0.5}')
    assert len(read_problems(path)) == 2
