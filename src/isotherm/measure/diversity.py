"""How different the responses to one problem are: their n-grams, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

ORDER = 4  # n-grams of 1 to 4 tokens


@dataclass(frozen=True)
class Grams:
    """The n-grams of all responses for one n, each distinct one of a response once."""

    row: np.ndarray  # its response
    code: np.ndarray  # equal for equal n-grams
    count: np.ndarray  # how often the response has it


def grams(ids: np.ndarray, length: np.ndarray, order: int = ORDER) -> Iterator[Grams]:
    """For n = 1 to `order`: the n-grams of the first `length[b]` tokens of each row."""
    _, words = np.unique(ids, return_inverse=True)  # small numbers, so that no product below overflows
    code: np.ndarray = words.reshape(ids.shape).astype(np.int64)
    words = code
    size = int(words.max(initial=0)) + 1
    for n in range(1, order + 1):
        if n > 1:
            code = code[:, :-1] * size + words[:, n - 1 :]
        inside = np.arange(code.shape[1]) + n <= length[:, None]
        _, small = np.unique(code[inside], return_inverse=True)  # so that the next product stays a small number
        code = np.zeros_like(code)
        code[inside] = small
        row, kinds = np.nonzero(inside)[0], int(small.max(initial=0)) + 1
        pair, count = np.unique(row * kinds + small, return_counts=True)
        yield Grams(pair // kinds, pair % kinds, count)


def ngram_diversity(ids: np.ndarray, length: np.ndarray, group: np.ndarray, order: int = ORDER) -> np.ndarray:
    """Per problem: distinct n-grams of its responses over all their n-grams, mean over n.

    1/N sum_n |distinct n-grams| / |n-grams|, over the n for which there are any. Distinct-n of Li et al. 2016
    (arXiv 1510.03055); Shaib et al. 2024 (arXiv 2403.00553) sum over n = 1 to 4, the mean keeps it a share.
    """
    shares = []
    for found in grams(ids, length, order):
        of, kinds = group[found.row], int(found.code.max(initial=0)) + 1
        distinct = np.bincount(np.unique(of * kinds + found.code) // kinds, minlength=group.max() + 1)
        total = np.bincount(of, found.count, minlength=group.max() + 1)
        shares.append(np.divide(distinct, total, where=total > 0, out=np.full(len(total), np.nan)))
    return mean_of_known(np.array(shares)[:, np.unique(group)])


def self_bleu(ids: np.ndarray, length: np.ndarray, group: np.ndarray, order: int = ORDER) -> np.ndarray:
    """Per response: BLEU against the other responses to its problem; NaN where it is empty or has no others.

    min(1, e^(1 - r/c)) exp(1/N sum_n log p_n)      (Zhu et al. 2018, arXiv 1802.01886; BLEU: Papineni et al. 2002)

    p_n is the share of its n-grams that another response has as well, each counted at most as often as in the response
    that has it most often; c its length, r the nearest length of another one, of two the shorter. No smoothing: 0 where
    a p_n is 0. A response shorter than N tokens has fewer orders.
    """
    logs = []
    for n, found in enumerate(grams(ids, length, order), 1):
        matched = np.bincount(found.row, np.minimum(found.count, elsewhere(found, group)), minlength=len(length))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs.append(np.where(length >= n, np.log(matched / (length - n + 1)), np.nan))
    nearest = nearest_length(length, group)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.minimum(0.0, 1 - nearest / length)
    return np.exp(brevity + mean_of_known(np.array(logs)))


def elsewhere(found: Grams, group: np.ndarray) -> np.ndarray:
    """The largest count of each n-gram in another response to the same problem."""
    cell = group[found.row] * (int(found.code.max(initial=0)) + 1) + found.code
    order = np.lexsort((-found.count, cell))
    cell, count = cell[order], found.count[order]
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    sizes = np.diff(first, append=len(cell))
    best = np.repeat(count[first], sizes)
    several = first[sizes > 1]
    best[first] = 0
    best[several] = count[several + 1]
    result = np.empty_like(best)
    result[order] = best
    return result


def nearest_length(length: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The length of another response to the problem that is nearest to its own, of two the shorter; NaN without one."""
    nearest = np.full(len(length), np.nan)
    for rows in rows_of(group):
        if len(rows) > 1:
            own = length[rows]
            distance = np.abs(own[:, None] - own) + np.where(own > own[:, None], 0.5, 0.0)
            np.fill_diagonal(distance, np.inf)
            nearest[rows] = own[distance.argmin(1)]
    return nearest


def rows_of(group: np.ndarray) -> list[np.ndarray]:
    """The rows of each problem, problems in the order of their numbers."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def blocks(length: np.ndarray, group: np.ndarray, most: int = 2**14) -> list[np.ndarray]:
    """Rows of whole problems with about so many tokens together: sorting few n-grams at a time is quicker."""
    found, tokens = [[]], 0
    for rows in rows_of(group):
        if found[-1] and tokens + length[rows].sum() > most:
            found, tokens = [*found, []], 0
        found[-1].append(rows)
        tokens += length[rows].sum()
    return [np.concatenate(rows) for rows in found]


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(0)
    total = np.where(known, values, 0.0).sum(0)
    return np.divide(total, count, where=count > 0, out=np.full(count.shape, np.nan))


def distinct_correct(forms: Sequence[str | None], correct: Sequence[bool]) -> int:
    """How many different solutions of one problem are among its correct responses, by their normal forms."""
    return len({form for form, right in zip(forms, correct, strict=True) if right})


def duplicates(forms: Sequence[str | None]) -> tuple[int, int]:
    """Answers to one problem that another, earlier one means already, and all its answers; None is no answer."""
    answers = [form for form in forms if form is not None]
    return len(answers) - len(set(answers)), len(answers)
