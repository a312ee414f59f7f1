"""What went along with the fall of entropy: each driver of a log beside the pace of the fall. No proof of a cause."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from isotherm.measure.laws.series import Estimate
from isotherm.measure.logs.record import Log
from isotherm.measure.prognosis.ends import Ends, ends

STRETCHES, FEWEST = 32, 4  # stretches at most, and rows in each at least
LEAST = 12  # stretches; fewer leave the interval of a rank correlation next to nothing
LEVEL = 0.95
DRIVERS: dict[str, str] = {
    "update/clip": "the share of tokens that are clipped",
    "update/clip_high": "the share of tokens stopped at the upper clip",
    "update/clip_low": "the share of tokens stopped at the lower clip",
    "signal/groups": "the share of groups whose rewards differ",
    "update/lr": "the learning rate",
    "update/grad_norm": "the gradient norm",
    "update/kl_old": "the KL of an update (k3)",
    "update/kl_old_k1": "the KL of an update (k1)",
    "kl/reference": "the KL to the reference",
    "kl/unknown": "a KL that the log does not define",
    "mismatch/mean": "the difference between sampler and trainer",
    "mismatch/kl": "the KL between sampler and trainer",
    "length/mean": "the response length",
    "length/overlong": "the share of responses that are cut",
    "method/covariance": "the covariance of log pi and the advantage",
}


@dataclass(frozen=True)
class Driver:
    """`relation` is None where the series does not vary, or has too few rows."""

    name: str
    words: str
    key: str
    note: str
    ends: Ends
    relation: Estimate | None  # rank correlation of its mean with the pace of the fall over stretches of the log
    stretches: int


def drivers(log: Log, entropy: np.ndarray) -> list[Driver]:
    """Every driver that the log has. Intervals hold for all of them together (Bonferroni)."""
    named = {name: words for name, words in DRIVERS.items() if name in log.series}
    named |= {name: f"the control {name.removeprefix('knob/')}" for name in log.series if name.startswith("knob/")}
    found = []
    for name, words in named.items():
        here = ends(log.series[name])
        if here is not None:
            relation, stretches = related(log.step, entropy, log.series[name], len(named))
            found.append(Driver(name, words, log.origin[name].key, log.origin[name].note, here, relation, stretches))
    return found


def related(step: np.ndarray, entropy: np.ndarray, driver: np.ndarray, of: int) -> tuple[Estimate | None, int]:
    """Rank correlation, with the order of the stretches held fixed, of a driver's mean and minus the slope of H.

    rho_xy.t = (rho_xy - rho_xt rho_yt) / sqrt((1 - rho_xt^2) (1 - rho_yt^2)), its interval by Fisher's z with n - 4.
    """
    rows = np.flatnonzero(np.isfinite(entropy) & np.isfinite(driver))
    n = min(STRETCHES, len(rows) // FEWEST)
    if n < LEAST:
        return None, n
    parts = np.array_split(rows, n)
    x = ranks(np.array([driver[part].mean() for part in parts]))
    y = ranks(-np.array([slope(step[part].astype(np.float64), entropy[part]) for part in parts]))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, n
    xy, xt, yt = (float(np.corrcoef(*pair)[0, 1]) for pair in ((x, y), (x, np.arange(n)), (y, np.arange(n))))
    left = (1 - xt**2) * (1 - yt**2)
    if left < 1e-9:
        return None, n
    rho = max(-1.0, min(1.0, (xy - xt * yt) / math.sqrt(left)))
    z = math.atanh(max(-0.9999, min(0.9999, rho)))
    reach = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / of) / math.sqrt(n - 4)
    return Estimate(rho, math.tanh(z - reach), math.tanh(z + reach), LEVEL), n


def slope(t: np.ndarray, h: np.ndarray) -> float:
    """Cov(t, h) / Var t."""
    away = t - t.mean()
    return float(away @ h / (away @ away))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count + 1) / 2)[place]


def parts_of_the_change(log: Log) -> dict[str, dict[str, float]]:
    """Our own runs: the predicted change of entropy by sign and by quadrant, summed over the steps that have it."""
    found: dict[str, dict[str, float]] = {}
    for kind in ("sign", "quadrant"):
        prefix = f"dynamics/{kind}/"
        sums = {
            name.removeprefix(prefix): float(np.nansum(x)) for name, x in log.series.items() if name.startswith(prefix)
        }
        if any(sums.values()):
            found[kind] = sums
    return found
