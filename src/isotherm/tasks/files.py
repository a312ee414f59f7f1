"""The user's own problems: a file of JSON lines, each with a `prompt` and an `answer`."""

from __future__ import annotations

import functools
import json
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from isotherm.errors import UserError
from isotherm.records import Problem, Verdict
from isotherm.tasks.family import verdict

FAMILY = "file"
TAIL = 10_000  # characters at the end of a response that are searched for its answer
LONGEST = 100_000  # characters of a prompt
DIGITS = 40  # characters of a number; a longer one is no answer
NUMBER = re.compile(  # -1,234 or 0.5 or 3/4 or .5; the sign only where nothing stands before it: 7-5 ends with 5
    r"(?:(?<![\w.)])[-−])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+|(?<![\w.])(?=\.[0-9]))(?:\.[0-9]+)?(?:/[0-9]+)?"
)
EXAMPLE = '{"prompt": "2+2=", "answer": 4}'
WANTED = {"prompt": "a text", "answer": "a text or a number"}


def read_problems(path: str | Path) -> list[Problem]:
    """The problems of a file, in its order; blank lines are passed over."""
    problems: list[Problem] = []
    first: dict[str, tuple[int, Fraction | str]] = {}
    for row, line in enumerate(lines(Path(path)), 1):
        if line.strip():
            problem = parse_row(line, f"{path}, row {row}")
            earlier, answer = first.setdefault(problem.key, (row, value(problem.data)))
            if answer != value(problem.data):
                raise UserError(
                    f"{path}, row {row}, field answer contradicts row {earlier}, of the same prompt: keep one."
                )
            problems.append(problem)
    if not problems:
        raise UserError(f"{path} holds no problem: write one JSON object per line, such as {EXAMPLE}.")
    return problems


def lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a file of JSON lines.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 (byte {error.start}): save it as UTF-8.") from error
    if text.startswith("\ufeff"):
        raise UserError(f"{path} begins with a byte-order mark: save it as UTF-8 without one.")
    return text.split("\n")


def parse_row(line: str, where: str) -> Problem:
    if "\0" in line:
        raise UserError(f"{where} holds a NUL character: the file is damaged or not text.")
    try:
        row = json.loads(line, parse_int=Decimal, parse_float=Decimal, object_pairs_hook=once)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{where} is not JSON ({error}): write one object per line, such as {EXAMPLE}.") from error
    if not isinstance(row, dict):
        raise UserError(f"{where} is {kind(row)}: it must be an object with the fields prompt and answer.")
    prompt, answer = (text_field(row, field, f"{where}, field {field}") for field in WANTED)
    if len(prompt) > LONGEST:
        raise UserError(f"{where}, field prompt has {len(prompt)} characters: it must have at most {LONGEST}.")
    data = {"answer": answer.strip()}
    if check(data, data["answer"]) is not Verdict.CORRECT:
        raise UserError(
            f"{where}, field answer would not be found in a response: it must be a number, or one line of at most "
            f"{TAIL} characters."
        )
    return Problem(family=FAMILY, level=0, key=prompt, prompt=prompt, data=data)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys must differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def text_field(row: dict[str, Any], field: str, where: str) -> str:
    """The field as text, where it is usable; numbers in decimal digits."""
    if field not in row:
        raise UserError(f"{where} is missing: the row has {', '.join(row) or 'no field'}.")
    found = row[field]
    if not isinstance(found, str):
        if field == "prompt" or not isinstance(found, Decimal | float):
            raise UserError(f"{where} is {kind(found)}: it must be {WANTED[field]}.")
        return digits(found, where)
    if not found.strip():
        raise UserError(f"{where} is empty: it must be {WANTED[field]}.")
    if re.search("[\0\ud800-\udfff]", found):
        raise UserError(f"{where} holds a NUL character or half a surrogate pair: it must be {WANTED[field]}.")
    return found


def digits(found: Decimal | float, where: str) -> str:
    """A JSON number as it is written, but without an exponent. A float is NaN or infinite."""
    text = f"{found:f}" if isinstance(found, Decimal) and abs(found.adjusted()) <= DIGITS else "inf"
    if number(text) is None:
        raise UserError(f"{where} is infinite, not a number or longer than {DIGITS} digits: it must be shorter.")
    return text


def kind(found: object) -> str:
    """How JSON calls a value's type."""
    names = {type(None): "null", bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(found), "a number")


@functools.lru_cache(maxsize=4096)
def number(text: str) -> Fraction | None:
    """`-1,234`, `0.5` or `3/4` exactly, or None for anything else."""
    if len(text) > DIGITS or not NUMBER.fullmatch(text):
        return None
    top, _, bottom = text.replace(",", "").replace("−", "-").partition("/")
    return Fraction(top) / int(bottom or 1) if int(bottom or 1) else None


def value(data: dict[str, Any]) -> Fraction | str:
    """The answer as a number, so that 0.5 equals 1/2, or else as it stands."""
    as_number = number(data["answer"])
    return data["answer"] if as_number is None else as_number


def answer_in(data: dict[str, Any], response: str) -> Fraction | str | None:
    """The last number of the response, or its last line where the answer is not a number; None where it has none."""
    tail = response[-TAIL:].strip()
    if isinstance(value(data), str):
        return tail.split("\n")[-1].strip() if tail else None
    numbers = NUMBER.findall(tail)
    return number(numbers[-1]) if numbers else None


def check(data: dict[str, Any], response: str) -> Verdict:
    """The answer in the response must be the right one."""
    last = answer_in(data, response)
    return Verdict.UNPARSED if last is None else verdict(last == value(data))


def normal(data: dict[str, Any], response: str) -> str:
    """The answer in the response: two ways to the same answer, and 0.5 and 1/2, are the same."""
    return str(answer_in(data, response))
