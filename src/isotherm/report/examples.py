"""Responses before and after training, on the same problems."""

from __future__ import annotations

from typing import Any

from isotherm.report.text import escape
from isotherm.runs import Run

COLUMNS = ["family", "level", "key", "prompt", "sample", "response", "verdict"]
PROBLEMS, RESPONSES, CHARACTERS = 6, 3, 2000
MARKS = {"correct": "✓", "wrong": "✗", "unparsed": "?", "error": "!"}
Key = tuple[str, str]  # family and content of a problem


def read(run: Run, step: int) -> dict[Key, list[dict[str, Any]]]:
    """The responses of one evaluation by problem, in the order of their samples."""
    problems: dict[Key, list[dict[str, Any]]] = {}
    for row in run.eval_rollouts(step, COLUMNS).to_pylist():
        problems.setdefault((row["family"], row["key"]), []).append(row)
    return {key: sorted(rows, key=lambda row: row["sample"]) for key, rows in problems.items()}


def examples(runs: list[Run], heads: list[str]) -> str:
    """For the first problem of every family: what each run answered before its training and after."""
    pairs = [(head, run) for head, run in zip(heads, runs, strict=True) if len(run.eval_steps) > 1]
    if not pairs:
        return ""
    before = [(f"{head} before", read(run, run.eval_steps[0])) for head, run in pairs]
    after = [(f"{head} after", read(run, run.eval_steps[-1])) for head, run in pairs]
    columns = [*merge_equal(before), *after]
    chosen = first_of_each_family(columns[0][1])
    return "".join(problem(key, columns) for key in chosen)


def merge_equal(before: list) -> list:
    """One column where all runs start from the same answers, as they do with one model and one seed."""
    same = len(before) > 1 and all(answers == before[0][1] for _, answers in before)
    return [("all runs before", before[0][1])] if same else before


def first_of_each_family(answers: dict[Key, list[dict[str, Any]]]) -> list[Key]:
    """Not picked by what was answered."""
    first: dict[str, Key] = {}
    for key in answers:
        first.setdefault(key[0], key)
    return list(first.values())[:PROBLEMS]


def problem(key: Key, columns: list) -> str:
    """One problem: its prompt, and a column of responses for each moment."""
    first = columns[0][1][key][0]
    cells = "".join(
        f"<div><h4>{head}</h4>{''.join(response(row) for row in answers.get(key, [])[:RESPONSES])}</div>"
        for head, answers in columns
    )
    title = f"{escape(first['family'])}, level {escape(first['level'])}"
    prompt = f'<pre class="prompt">{escape(shorten(first["prompt"]))}</pre>'
    return f'<article><h3>{title}</h3>{prompt}<div class="answers">{cells}</div></article>'


def response(row: dict[str, Any]) -> str:
    """The verdict in words, sign and colour, and the response."""
    verdict = str(row["verdict"])
    kind = verdict if verdict in MARKS else "error"
    return (
        f'<div class="response {kind}"><b>{MARKS[kind]} {escape(verdict)}</b>'
        f"<pre>{escape(shorten(row['response']))}</pre></div>"
    )


def shorten(text: str) -> str:
    """At most CHARACTERS of a text, with what was left out said."""
    left = len(text) - CHARACTERS
    return text if left <= 0 else f"{text[:CHARACTERS]} … ({left:,} more characters)"
