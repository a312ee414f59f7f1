"""n-grams, Self-BLEU and normal forms against plain counting."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from isotherm.measure.diversity import (
    blocks,
    distinct_correct,
    duplicates,
    grams,
    nearest_length,
    ngram_diversity,
    rows_of,
    self_bleu,
)


def rectangle(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Characters as ids; what stands behind the end is no part of the text."""
    length = np.array([len(text) for text in texts])
    ids = np.full((len(texts), max(length) + 2), 7)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = [ord(c) for c in text]
    return ids, length


def every(text: str, n: int) -> list[str]:
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def bleu(text: str, others: list[str]) -> float:
    """BLEU-4 by its definition, one count after another."""
    logs = []
    for n in range(1, min(4, len(text)) + 1):
        have = Counter(every(text, n))
        matched = sum(min(c, max(Counter(every(o, n))[g] for o in others)) for g, c in have.items())
        if not matched:
            return 0.0
        logs.append(math.log(matched / have.total()))
    r = min((abs(len(o) - len(text)), len(o)) for o in others)[1]
    return min(1.0, math.exp(1 - r / len(text))) * math.exp(sum(logs) / len(logs))


def plain_diversity(texts: list[str]) -> float:
    shares = []
    for n in range(1, 5):
        found = [gram for text in texts for gram in every(text, n)]
        shares += [len(set(found)) / len(found)] if found else []
    return sum(shares) / len(shares)


def drawn(seed: int, words: str = "ab") -> list[list[str]]:
    """Three problems with 2, 5 and 4 responses."""
    random = np.random.default_rng(seed)
    return [["".join(random.choice(list(words), random.integers(1, 9))) for _ in range(n)] for n in (2, 5, 4)]


def joined(problems: list[list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    group = np.repeat([0, 3, 4], [len(texts) for texts in problems])  # a number may be without responses
    return *rectangle([text for texts in problems for text in texts]), group


def test_diversity_by_hand():
    ids, length = rectangle(["abab", "ab"])
    # 2 of 6 letters; ab, ba of ab ba ab ab; aba, bab of both; abab
    assert ngram_diversity(ids, length, np.array([0, 0])).tolist() == [(2 / 6 + 2 / 4 + 1 + 1) / 4]


def test_bleu_by_hand():
    ids, length = rectangle(["aab", "ab"])
    # aab: 2 of 3 letters (a once only), ab of aa ab, aab nowhere. ab: all found, and 3 letters long the nearest
    assert self_bleu(ids, length, np.array([0, 0])).tolist() == [0, pytest.approx(math.exp(1 - 3 / 2))]
    ids, length = rectangle(["aabc", "xabcx"])
    # 3 of 4 letters, 2 of 3 pairs, 1 of 2 threes, no four: 0 by the definition, without smoothing
    assert self_bleu(ids, length, np.array([0, 0]), order=3)[0] == pytest.approx(
        math.exp(1 - 5 / 4) * (3 / 4 * 2 / 3 * 1 / 2) ** (1 / 3)
    )
    assert self_bleu(ids, length, np.array([0, 0]))[0] == 0


@pytest.mark.parametrize("seed", range(30))
def test_both_equal_plain_counting(seed):
    problems = drawn(seed, "ab" if seed % 2 else "abcd")
    ids, length, group = joined(problems)
    wanted = [bleu(t, texts[:i] + texts[i + 1 :]) for texts in problems for i, t in enumerate(texts)]
    assert self_bleu(ids, length, group) == pytest.approx(wanted, abs=1e-12)
    assert ngram_diversity(ids, length, group) == pytest.approx([plain_diversity(texts) for texts in problems])


def test_the_order_of_the_rows_does_not_matter():
    ids, length, group = joined(drawn(1))
    order = np.random.default_rng(0).permutation(len(group))
    assert self_bleu(ids[order], length[order], group[order]) == pytest.approx(self_bleu(ids, length, group)[order])
    assert np.array_equal(ngram_diversity(ids[order], length[order], group[order]), ngram_diversity(ids, length, group))


def test_equal_responses_are_not_diverse():
    ids, length = rectangle(["abcdef"] * 8)
    assert self_bleu(ids, length, np.zeros(8, int)).tolist() == [1] * 8
    assert ngram_diversity(ids, length, np.zeros(8, int)) == pytest.approx([1 / 8])


def test_what_cannot_be_compared_is_nan():
    ids, length = rectangle(["abc", "", "abc", "abc"])
    found = self_bleu(ids, length, np.array([0, 1, 1, 2]))
    assert np.isnan(found).tolist() == [True, True, False, True]  # alone, empty, against an empty one, alone
    assert found[2] == 0
    assert np.isnan(ngram_diversity(ids, length, np.array([0, 1, 2, 2]))).tolist() == [False, True, False]
    assert len(self_bleu(ids[:0], length[:0], np.zeros(0, int))) == 0


def test_large_token_numbers_do_not_overflow():
    random = np.random.default_rng(0)
    ids = random.integers(2**40, 2**62, (4, 300))
    ids[1] = ids[0]
    found = self_bleu(ids, np.full(4, 300), np.zeros(4, int))
    assert found.tolist() == [1, 1, 0, 0]


def test_the_number_of_ngrams():
    ids, length = rectangle(["abcd", "ab"])
    assert [int(found.count.sum()) for found in grams(ids, length)] == [6, 4, 2, 1]


def test_the_nearest_length_of_two_is_the_shorter():
    assert nearest_length(np.array([5, 3, 7, 9]), np.zeros(4, int)).tolist() == [3, 5, 5, 7]


@pytest.mark.parametrize("most", [1, 20, 10_000])
def test_blocks_of_whole_problems_have_the_same_values(most):
    ids, length, group = joined(drawn(5))
    parts = blocks(length, group, most)
    assert len(parts) == {1: 3, 20: 3, 10_000: 1}[most]
    assert np.concatenate(parts).tolist() == list(range(len(group)))
    found = [self_bleu(ids[rows], length[rows], group[rows]) for rows in parts]
    assert np.array_equal(np.concatenate(found), self_bleu(ids, length, group))
    shares = [ngram_diversity(ids[rows], length[rows], group[rows]) for rows in parts]
    assert np.array_equal(np.concatenate(shares), ngram_diversity(ids, length, group))


def test_rows_of_problems():
    assert [rows.tolist() for rows in rows_of(np.array([4, 0, 4, 0]))] == [[1, 3], [0, 2]]


def test_solutions_and_duplicates_by_hand():
    forms, right = ["x", "x", "y", "z", None, "z"], [True, True, True, False, False, False]
    assert distinct_correct(forms, right) == 2
    assert duplicates(forms) == (2, 5)
    assert duplicates([None, None]) == (0, 0)
