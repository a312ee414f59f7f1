"""The tokens that moved the most, one by one and by their text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isotherm.report.specimen import Quantity, Specimen
from isotherm.report.text import escape, number

SHOWN = 30


class Word(NamedTuple):
    """All tokens of one id: how many, and the mean and the sum of their changes."""

    id: int
    times: int
    mean: float
    total: float


def largest(values: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """The places of the largest |values|, largest first, ties in order; zeros and what has no value never."""
    size = np.where(np.isfinite(values), np.abs(values), 0)
    order = np.argsort(-size, kind="stable")[:most]
    return order[size[order] > 0]


def by_word(ids: np.ndarray, values: np.ndarray, most: int = SHOWN) -> list[Word]:
    """The ids whose changes add up to the most, of either sign."""
    known = np.isfinite(values)
    unique, place = np.unique(ids[known], return_inverse=True)
    count, total = np.bincount(place), np.bincount(place, values[known])
    return [
        Word(int(unique[i]), int(count[i]), float(total[i] / count[i]), float(total[i])) for i in largest(total, most)
    ]


def tables(specimen: Specimen) -> str:
    """Both tables for every change of entropy that the specimen has."""
    moves = [quantity for quantity in specimen.quantities if quantity.kind.moves]
    return "".join(folded(specimen, quantity, i == 0) for i, quantity in enumerate(moves))


def folded(specimen: Specimen, quantity: Quantity, opened: bool) -> str:
    title = f"The tokens that moved the most: {quantity.kind.title}"
    unit = f'<p class="quiet">{escape(quantity.kind.unit)}</p>'
    body = single(specimen, quantity) + summed(specimen, quantity)
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{unit}{body}</details>"


def single(specimen: Specimen, quantity: Quantity) -> str:
    starts = np.cumsum(specimen.length)
    rows = []
    for token in largest(quantity.values).tolist():
        response = int(np.searchsorted(starts, token, side="right"))
        position = int(token - starts[response] + specimen.length[response])
        jump = f'<button class="jump" data-token="{token}">{response}:{position}</button>'
        rows.append([spelled(specimen, int(specimen.ids[token])), number(float(quantity.values[token])), jump])
    return table(["token", "change", "response:position"], rows)


def summed(specimen: Specimen, quantity: Quantity) -> str:
    words = by_word(specimen.ids, quantity.values)
    rows = [[spelled(specimen, w.id), number(w.mean), f"{w.times:,}", number(w.total)] for w in words]
    return table(["all of a kind", "mean", "count", "sum"], rows)


def spelled(specimen: Specimen, token: int) -> str:
    """A token's text with its blanks made visible."""
    text = specimen.words.get(token, str(token))
    return f"<code>{escape(text.replace(' ', '␣').replace(chr(10), '⏎').replace(chr(9), '⇥'))}</code>"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Cells are markup already."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
