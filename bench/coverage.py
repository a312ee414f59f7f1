"""How often the intervals of `isotherm.measure.laws` hold the truth, over simulated runs with planted coefficients.

python bench/coverage.py --runs 500 --forecasts 500
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter

from isotherm.errors import UserError
from isotherm.files import write_whole
from isotherm.measure.laws.exhaustion import exhaustion
from isotherm.measure.laws.fit import fit
from isotherm.measure.laws.forecast import forecast
from isotherm.measure.laws.series import Estimate
from isotherm.update.environment import describe

SHAPES: dict[str, Callable[[float], float]] = {
    "exponential": lambda s: np.exp(-s),
    "stretched": lambda s: np.exp(-(s**0.6)),
    "stretched .65": lambda s: np.exp(-(s**0.65)),
    "stretched .87": lambda s: np.exp(-(s**0.87)),
    "stretched 1.1": lambda s: np.exp(-(s**1.1)),
    "power": lambda s: (1 + s) ** -1.5,
    "power 1.2": lambda s: (1 + s) ** -1.2,
    "power 2.4": lambda s: (1 + s) ** -2.4,
    "two times": lambda s: 0.6 * np.exp(-3 * s) + 0.4 * np.exp(-s / 3),  # none of the shapes that are fitted
}


@dataclass(frozen=True)
class World:
    """What the runs of a row of the table have in common; their coefficients are drawn anew for each run."""

    rows: int = 200
    phi: float = 0.5  # of the noise in R, an autoregression
    noise_h: float = 0.05  # of a row, relative to H
    phi_h: float = 0.0  # of the noise in H
    together: float = 0.0  # correlation of the noises' innovations
    shape: str = "exponential"
    share: float = 0.3  # of the steps that the forecast sees


@dataclass(frozen=True)
class Planted:
    a: float
    b: float
    exhausted: float
    step: np.ndarray
    entropy: np.ndarray
    reward: np.ndarray


FITS = {
    "white noise": World(phi=0.0),
    "autocorrelated .5": World(),
    "autocorrelated .8": World(phi=0.8),
    "noisy H, 10 %": World(noise_h=0.1),
    "noisy H, 20 %": World(noise_h=0.2),
    "noises correlated -.5": World(noise_h=0.1, together=-0.5),
    "60 rows": World(rows=60),
    "60 rows, .8": World(rows=60, phi=0.8),
    "36 rows": World(rows=36),
    "20 rows": World(rows=20),
    "36 rows, .8, noisy H, 20 %": World(rows=36, phi=0.8, noise_h=0.2),
    "noise in H autocorrelated .7": World(noise_h=0.1, phi_h=0.7),
}
FORECASTS = {
    "exponential, first 15 %": World(share=0.15),
    "exponential, first 30 %": World(),
    "stretched, first 30 %": World(shape="stretched"),
    "two times, first 30 %": World(shape="two times"),
    "autocorrelated .8, first 30 %": World(phi=0.8),
    "noisy H, 20 %, first 30 %": World(noise_h=0.2),
}
SEEN = World(rows=100, noise_h=0.03, phi_h=0.5, share=1.0)
USED_UP = {
    "stretched .65, white noise": replace(SEEN, shape="stretched .65", phi_h=0.0),
    "stretched .65, white noise .5 %": replace(SEEN, shape="stretched .65", phi_h=0.0, noise_h=0.005),
    "stretched .65": replace(SEEN, shape="stretched .65"),
    "stretched .65, autocorrelated .8": replace(SEEN, shape="stretched .65", phi_h=0.8),
    "stretched .65, first 40 %": replace(SEEN, shape="stretched .65", share=0.4),
    "stretched .87": replace(SEEN, shape="stretched .87"),
    "stretched 1.1": replace(SEEN, shape="stretched 1.1"),
    "power 1.2": replace(SEEN, shape="power 1.2"),
    "power 2.4": replace(SEEN, shape="power 2.4"),
}


def plant(world: World, rng: np.random.Generator) -> Planted:
    """A run: R = -a e^H + b + noise over a falling H, and the H that is seen."""
    a, start, floor = rng.uniform(0.2, 0.8), rng.uniform(0.4, 1.2), rng.uniform(0.05, 0.2)
    b, tau = a + rng.uniform(0.4, 0.9), world.rows * np.exp(rng.uniform(np.log(0.07), np.log(0.3)))
    step = np.arange(1, world.rows + 1)
    h = floor + (start - floor) * np.array([SHAPES[world.shape]((t - 1) / tau) for t in step])
    first, second = rng.standard_normal((2, world.rows + 100))
    second = world.together * first + (1 - world.together**2) ** 0.5 * second
    noise_h, noise_r = autoregression(first, world.phi_h), autoregression(second, world.phi)
    size = rng.uniform(0.05, 0.15) * a * (np.exp(start) - np.exp(floor))
    exhausted = 1 + tau * brentq(lambda s: SHAPES[world.shape](s) - 0.1, 0, 1000)
    seen = np.abs(h * (1 + world.noise_h * noise_h))
    return Planted(a, b, exhausted, step, seen, b - a * np.exp(h) + size * noise_r)


def autoregression(innovations: np.ndarray, phi: float) -> np.ndarray:
    """x_t = phi x_(t-1) + sqrt(1 - phi^2) e_t of variance 1, its first 100 rows dropped."""
    return np.asarray(lfilter([(1 - phi**2) ** 0.5], [1, -phi], innovations))[100:]


def holds(interval: Estimate, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def textbook(p: Planted) -> bool:
    """Whether a least-squares interval for independent noise and exact H holds a."""
    x = np.exp(p.entropy)
    d, c = np.polyfit(x, p.reward, 1)
    squares = ((p.reward - c - d * x) ** 2).sum() / (len(x) - 2)
    return abs(-d - p.a) <= 2 * (squares / ((x - x.mean()) ** 2).sum()) ** 0.5


def fitted(p: Planted, share: float, seed: int) -> dict[str, float]:
    law = fit(p.entropy, p.reward)
    return {
        "a": abs(law.a - p.a) <= 2 * law.standard_errors[0],
        "b": abs(law.b - p.b) <= 2 * law.standard_errors[1],
        "ceiling": holds(law.ceiling, p.b - p.a),
        "textbook a": textbook(p),
        "bias of a": law.a / p.a - 1,
        "bias of least squares": law.least_squares_a / p.a - 1,
    }


def forecasted(p: Planted, share: float, seed: int) -> dict[str, float]:
    f = forecast(p.step, p.entropy, p.reward, share=share, seed=seed)
    assert f.given_entropy is not None
    assert f.observed is not None
    seen = p.step <= f.cut
    used = exhaustion(p.step[seen], p.entropy[seen], seed=seed)
    return {
        "given H": holds(f.given_entropy, f.observed),
        "end to end": holds(f.end_to_end, f.observed),
        "persistence": holds(f.persistence, f.observed),
        "H": holds(f.entropy, p.entropy[-1]),
        "used up": holds(used.step, p.exhausted),
        "width given H": f.given_entropy.high - f.given_entropy.low,
        "width end to end": f.end_to_end.high - f.end_to_end.low,
        "width persistence": f.persistence.high - f.persistence.low,
        "error given H": f.given_entropy.value - f.observed,
        "error end to end": f.end_to_end.value - f.observed,
        "error persistence": f.persistence.value - f.observed,
    }


def used_up(p: Planted, share: float, seed: int) -> dict[str, float]:
    seen = p.step <= share * len(p.step)
    step = exhaustion(p.step[seen], p.entropy[seen], seed=seed).step
    return {
        "used up": holds(step, p.exhausted),
        "later than it says": p.exhausted > step.high,
        "width of its step": (step.high - step.low) / p.exhausted,
    }


def measured(
    worlds: dict[str, World], one: Callable[..., dict[str, float]], runs: int, seed: int
) -> list[dict[str, Any]]:
    """A row for every world: shares and means over the runs that were not refused."""
    rows = []
    for number, (name, world) in enumerate(worlds.items()):
        found: list[dict[str, float]] = []
        for run in range(runs):
            p = plant(world, np.random.default_rng([seed, number, run]))
            try:
                found.append(one(p, world.share, run))
            except UserError:
                continue
        row = summary({key: np.array([f[key] for f in found], float) for key in (found[0] if found else ())})
        rows.append({"name": name, "world": asdict(world), "runs": runs, "refused": runs - len(found), **row})
        print(
            f"{name:<30}" + "".join(f"  {k} {v:.3f}" for k, v in row.items()) + f"  refused {runs - len(found)}",
            flush=True,
        )
    return rows


def summary(columns: dict[str, np.ndarray]) -> dict[str, float]:
    """Means; medians of widths; root mean squares of errors; and how wide persistence must be to hold 90 %."""
    out = {}
    for key, x in columns.items():
        if key.startswith("error"):
            out["rms " + key] = float(np.sqrt((x**2).mean()))
        else:
            out[key] = float(np.median(x) if key.startswith("width") else x.mean())
    if "error persistence" in columns:
        out["width persistence, 90 %"] = float(2 * np.quantile(np.abs(columns["error persistence"]), 0.9))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="simulated runs for each row of fits")
    parser.add_argument("--forecasts", type=int, default=500, help="the same for each row of forecasts, and of steps")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--out", type=Path, default=Path("bench/results/coverage.json"))
    options, begun = parser.parse_args(), time.process_time()
    result: dict[str, Any] = {"seed": options.seed, "environment": describe()}
    result["fits"] = measured(FITS, fitted, options.runs, options.seed)
    result["forecasts"] = measured(FORECASTS, forecasted, options.forecasts, options.seed + 1)
    result["used up"] = measured(USED_UP, used_up, options.forecasts, options.seed + 2)
    result["cpu seconds"] = time.process_time() - begun
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
