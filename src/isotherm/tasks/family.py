"""A family of problems: how to draw one, ask it, check an answer, and answer it well or at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from isotherm.records import Verdict

Data = dict[str, Any]  # JSON values only

LONGEST = 2000  # characters; no answer to a built-in problem comes near


def as_written(data: Data, response: str) -> str:
    """The normal form where one answer has one spelling: the response, white space aside."""
    return " ".join(response.split())


@dataclass(frozen=True)
class Family:
    """One kind of problem. `trained` is False for the families kept for out-of-distribution tests."""

    name: str
    rules: str
    levels: tuple[int, ...]
    trained: bool
    generate: Callable[[Random, int], Data]
    prompt: Callable[[Data], str]
    key: Callable[[Data], str]  # the content: the same problem in another order has the same key
    check: Callable[[Data, str], Verdict]
    solve: Callable[[Data, Random], str]  # a correct answer, at random among several
    attempt: Callable[[Data, Random], str]  # legal moves made at random: right by luck only
    normal: Callable[[Data, str], str] = as_written  # of a parsed response: equal for two that mean the same


def bare(response: str) -> str:
    """The response without surrounding white space; empty, hence unparsed, where it is longer than any answer."""
    return response.strip(" \t\r\n") if len(response) <= LONGEST else ""


def verdict(right: bool) -> Verdict:
    """CORRECT or WRONG, for a response that has been parsed."""
    return Verdict.CORRECT if right else Verdict.WRONG
