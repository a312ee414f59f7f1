"""Numbers on their way into a page: two bytes each, three digits kept."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from isotherm.report.specimen import Quantity, Specimen
from isotherm.report.text import clean

TOP = 15  # the largest of a column becomes 2^14 to 2^15, below the 65504 that a half can hold


def halves(values: np.ndarray) -> tuple[str, float]:
    """base64 of x / scale in IEEE half precision, little-endian, and the scale, a power of 2.

    The relative error is below 2^-11 where |x| is at least 2^-29 of the largest; NaN stays NaN.
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0))
    scale = 2.0 ** (math.frexp(largest)[1] - TOP) if largest else 1.0
    return encoded((values / scale).astype("<f2")), scale


def unhalved(text: str, scale: float) -> np.ndarray:
    """The inverse, as the page's script does it."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float64) * scale


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def reach(quantity: Quantity) -> float:
    """Where the colours end: the 99th percentile of |x| that is not 0; beyond, all are alike."""
    size = np.abs(quantity.values[np.isfinite(quantity.values) & (quantity.values != 0)])
    return float(np.quantile(size, 0.99)) if len(size) else 1.0


def packed(specimen: Specimen) -> dict[str, Any]:
    """All that the page's script needs. Ids are places in the list of words."""
    unique, place = np.unique(specimen.ids, return_inverse=True)
    wide = len(unique) > 2**16
    return {
        "prompts": [clean(p) for p in specimen.prompts],
        "families": [clean(f) for f in specimen.families],
        "group": specimen.group.tolist(),
        "sample": specimen.sample.tolist(),
        "length": specimen.length.tolist(),
        "reward": [round(x, 6) if math.isfinite(x) else None for x in specimen.reward.tolist()],
        "verdicts": specimen.verdicts,
        "ids": unique.tolist(),
        "words": [clean(specimen.words[i]) for i in unique.tolist()] if specimen.words else None,
        "token": encoded(place.astype("<u4" if wide else "<u2")),
        "quadrant": None if specimen.quadrant is None else encoded(specimen.quadrant.astype("u1")),
        "quantities": [column(quantity) for quantity in specimen.quantities],
    }


def column(quantity: Quantity) -> dict[str, Any]:
    data, scale = halves(quantity.values)
    kind = quantity.kind
    return {
        "name": quantity.name, "title": clean(kind.title), "unit": kind.unit, "definition": kind.definition,
        "signed": kind.signed, "moves": kind.moves, "reach": reach(quantity), "scale": scale, "data": data,
    }  # fmt: skip


def script_data(value: Any) -> str:
    """JSON that can stand in a script element: no `<` and no `>` is left, so nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
