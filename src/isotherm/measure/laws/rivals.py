"""The law against other forms, by the error on rows that come after those fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import stdtrit

from isotherm.measure.laws.fit import refuse_small_range
from isotherm.measure.laws.series import Estimate, columns, enough, windows

FEWEST = 32  # rows: four in a block
BLOCKS = 8
FIRST = 3  # blocks that the first fit sees
POWERS = (0.05, 6.0)  # range of p
LAW = "-a e^H + b"

Fitted = tuple[dict[str, float], Callable[[np.ndarray, np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class Rival:
    """One form: its least-squares parameters on all rows, and its errors on held-out blocks."""

    name: str
    parameters: dict[str, float]
    rmse: float  # on the rows fitted to
    held_out: float  # root mean square error on blocks after those fitted to
    behind: Estimate | None  # held-out mean square error minus the law's, 95 % over blocks; None for the law


def rivals(entropy: ArrayLike, reward: ArrayLike) -> list[Rival]:
    """Every form, the law first. A form is behind or ahead where the interval of `behind` leaves out 0."""
    h, r = columns(entropy=entropy, reward=reward)
    enough(len(h), FEWEST, "A comparison of forms")
    (h, r), _ = windows(h, r)
    refuse_small_range(h)
    row = np.arange(len(h), dtype=np.float64)
    errors = {name: block_errors(form, row, h, r) for name, form in FORMS.items()}
    found = []
    for name, form in FORMS.items():
        parameters, predict = form(row, h, r)
        rmse = float(np.sqrt(((predict(row, h) - r) ** 2).mean()))
        held_out = float(np.sqrt(errors[name].mean()))
        behind = None if name == LAW else difference(errors[name] - errors[LAW])
        found.append(Rival(name, parameters, rmse, held_out, behind))
    return found


def block_errors(form: Callable[..., Fitted], row: np.ndarray, h: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Mean square error on each of the later blocks, from a fit to all blocks before it."""
    edges = np.linspace(0, len(r), BLOCKS + 1).round().astype(int)
    errors = []
    for begin, end in zip(edges[FIRST:-1], edges[FIRST + 1 :], strict=True):
        _, predict = form(row[:begin], h[:begin], r[:begin])
        errors.append(((predict(row[begin:end], h[begin:end]) - r[begin:end]) ** 2).mean())
    return np.array(errors)


def difference(each: np.ndarray) -> Estimate:
    """Mean over blocks with its t interval, as if blocks were independent."""
    half = float(stdtrit(len(each) - 1, 0.975) * each.std(ddof=1) / len(each) ** 0.5)
    mean = float(each.mean())
    return Estimate(mean, mean - half, mean + half, 0.95)


def line(x: np.ndarray, r: np.ndarray) -> tuple[float, float]:
    """Least squares of r = c + d x: d = Cov(x, r) / Var x, c = mean r - d mean x; d = 0 where x does not vary."""
    away = x - x.mean()
    size = float(away @ away)
    d = float(away @ r) / size if size > 0 else 0.0
    return float(r.mean()) - d * float(x.mean()), d


def law(row: np.ndarray, h: np.ndarray, r: np.ndarray) -> Fitted:
    """R = -a e^H + b."""
    b, d = line(np.exp(h), r)
    return {"a": -d, "b": b}, lambda row, h: b + d * np.exp(h)


def linear(row: np.ndarray, h: np.ndarray, r: np.ndarray) -> Fitted:
    """R = c + d H."""
    c, d = line(h, r)
    return {"c": c, "d": d}, lambda row, h: c + d * h


def power(row: np.ndarray, h: np.ndarray, r: np.ndarray) -> Fitted:
    """R = c - d H^p, the p of least squares error."""

    def loss(p: float) -> float:
        c, d = line(h**p, r)
        return float(((c + d * h**p - r) ** 2).sum())

    p = float(np.asarray(minimize_scalar(loss, bounds=POWERS, method="bounded").x))  # pyright: ignore
    c, d = line(h**p, r)
    return {"c": c, "d": -d, "p": p}, lambda row, h: c + d * h**p


def steps(row: np.ndarray, h: np.ndarray, r: np.ndarray) -> Fitted:
    """R = c + d row: no entropy in it."""
    c, d = line(row, r)
    return {"c": c, "d": d}, lambda row, h: c + d * row


def last(row: np.ndarray, h: np.ndarray, r: np.ndarray) -> Fitted:
    """R = the mean of the last eighth of the rows seen: persistence."""
    c = float(r[-max(1, len(r) // 8) :].mean())
    return {"c": c}, lambda row, h: np.full_like(h, c)


FORMS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Fitted]] = {
    LAW: law,
    "c + d H": linear,
    "c - d H^p": power,
    "c + d row": steps,
    "last value": last,
}
