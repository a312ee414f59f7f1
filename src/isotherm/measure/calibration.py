"""How well the policy's confidence in a response agrees with its correctness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """The reliability curve: accuracy against confidence, NaN in a bin without responses."""

    edges: np.ndarray  # [bins + 1], equally wide from 0 to 1
    count: np.ndarray  # [bins] responses; a bin has its upper edge, and the first one 0 as well
    confidence: np.ndarray  # [bins] mean
    accuracy: np.ndarray  # [bins] share that is correct


def mean_logprob(logprob: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Mean log-probability per token of each response, in nats; `logprob` is [responses, T], 0 beyond the length."""
    return logprob.sum(1, dtype=np.float64) / np.maximum(length, 1)


def sequence_probability(logprob: np.ndarray) -> np.ndarray:
    """prod_t pi(y_t): the probability of the whole response, which falls with its length."""
    return np.exp(logprob.sum(1, dtype=np.float64))


def token_probability(logprob: np.ndarray, length: np.ndarray) -> np.ndarray:
    """prod_t pi(y_t)^(1/T): the same, normalised by length; the geometric mean of the tokens' probabilities."""
    return np.exp(mean_logprob(logprob, length))


def vote_share(forms: Sequence[str | None], group: np.ndarray) -> np.ndarray:
    """Share of the responses to the same problem that give the same answer, itself included; 0 without an answer."""
    keys = list(zip(group.tolist(), forms, strict=True))
    votes, size = Counter(keys), Counter(group.tolist())
    return np.array([0.0 if form is None else votes[g, form] / size[g] for g, form in keys])


def logprob_gap(score: np.ndarray, correct: np.ndarray) -> float:
    """Mean score of the correct responses minus that of the wrong ones; NaN where there are none of a kind."""
    return float(score[correct].mean() - score[~correct].mean()) if 0 < correct.sum() < len(correct) else np.nan


def brier(confidence: np.ndarray, correct: np.ndarray) -> float:
    """mean (confidence - correct)^2       (Brier 1950)"""
    return float(((confidence - correct) ** 2).mean()) if len(correct) else np.nan


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Accuracy and mean confidence of the responses in each of equally wide bins, ((b - 1) / B, b / B]."""
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    sums = (np.bincount(bin_of, np.asarray(x, dtype=np.float64), minlength=bins) for x in (confidence, correct))
    means = (np.divide(s, count, where=count > 0, out=np.full(bins, np.nan)) for s in sums)
    return Reliability(edges, count, *means)


def ece(curve: Reliability) -> float:
    """sum_b (n_b / n) |accuracy_b - confidence_b|       (Guo et al. 2017, arXiv 1706.04599, eq. 3)"""
    full = curve.count > 0
    gaps = np.abs(curve.accuracy[full] - curve.confidence[full])
    return float((curve.count[full] * gaps).sum() / curve.count.sum()) if full.any() else np.nan
