"""Entropy along the response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Profile:
    """A mean for each place in the response, and how many tokens it is a mean over; NaN over none."""

    mean: np.ndarray
    count: np.ndarray


def by_position(values: np.ndarray, length: np.ndarray) -> Profile:
    """Mean over the responses that have a token number t, for t = 0, 1, ..; `values` [tokens], response by response."""
    return means(values, positions(length), int(length.max(initial=0)))


def by_part(values: np.ndarray, length: np.ndarray, parts: int = 10) -> Profile:
    """Mean over the tokens in each tenth of their response: token t of T is in part floor(parts t / T)."""
    return means(values, positions(length) * parts // np.repeat(length, length), parts)


def positions(length: np.ndarray) -> np.ndarray:
    """The number of each token within its response."""
    return np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)


def means(values: np.ndarray, place: np.ndarray, places: int) -> Profile:
    count = np.bincount(place, minlength=places)
    total = np.bincount(place, values.astype(np.float64), minlength=places)
    return Profile(np.divide(total, count, where=count > 0, out=np.full(places, np.nan)), count)


def prompt_entropy(entropy: np.ndarray, group: np.ndarray) -> float:
    """Mean over problems of the entropy of the first response token, the distribution that the prompt alone decides.

    It is exact from what is stored. The entropy of the prompt's own tokens would need another pass over the prompts.
    """
    _, first = np.unique(group, return_index=True)
    return float(entropy[first, 0].mean(dtype=np.float64))
