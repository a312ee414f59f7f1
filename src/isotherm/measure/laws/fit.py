"""The law R = -a e^H + b fitted to a run, with standard errors that hold under autocorrelated noise and noise in H."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isotherm.errors import UserError
from isotherm.measure.laws.noise import Noise, weigh
from isotherm.measure.laws.series import FEWEST, Estimate, columns, enough, windows

LEAST = 1e-4  # nats; a smaller range is rounding
STRONG = 16.0  # first-stage F below which instruments are weak and intervals do not hold (Staiger & Stock 1997: 10)


@dataclass(frozen=True)
class Law:
    """R = -a e^H + b. Standard errors, covariance and diagnostics are those of the rows after averaging by windows."""

    a: float
    b: float
    covariance: np.ndarray  # [2, 2], of a and b
    ceiling: Estimate  # b - a, the reward at H = 0
    rmse: float  # of the residuals, 2 parameters taken off
    r2: float
    autocorrelation: float  # of the residuals, from one row to the next
    n: int  # rows the fit saw
    effective_n: float  # independent rows that would tell as much about the mean residual
    window: int  # adjacent rows averaged into one before the fit
    strength: float  # first-stage F: how far the range of H stands above its noise
    least_squares_a: float  # what plain least squares gives: smaller where H is noisy
    noise: Noise

    @property
    def standard_errors(self) -> tuple[float, float]:
        """Of a and of b."""
        return float(self.covariance[0, 0] ** 0.5), float(self.covariance[1, 1] ** 0.5)

    def at(self, entropy: ArrayLike) -> np.ndarray:
        """-a e^H + b        (arXiv 2505.22617, eq. 1)."""
        return self.b - self.a * np.exp(np.asarray(entropy, dtype=np.float64))


def fit(entropy: ArrayLike, reward: ArrayLike) -> Law:
    """The law through the rows of a run, in the order of the run; see docs/law.md for the method.

    R = -a e^H + b        (arXiv 2505.22617, eq. 1). The paper fits by least squares, which noise in H biases.
    """
    h, r = columns(entropy=entropy, reward=reward)
    enough(len(h), FEWEST, "A fit of R = -a e^H + b")
    (h, r), window = windows(h, r)
    return fitted(h, r, window)


def refuse_small_range(h: np.ndarray) -> float:
    """The first-stage F, or a UserError where it says that the range of H is mostly noise."""
    x = np.exp(h)
    strength = first_stage(x, neighbours(x))
    if strength < STRONG or np.ptp(h) < LEAST:
        raise UserError(
            f"The range of H is too small to fit R = -a e^H + b: H lies between {h.min():.4g} and {h.max():.4g}, and "
            f"its slow change is not clear of its noise (F = {strength:.3g}, at least {STRONG:g} is needed); take more "
            "of the run, or rows averaged over more responses."
        )
    return strength


def fitted(h: np.ndarray, r: np.ndarray, window: int) -> Law:
    """The law through checked rows: instrumental variables, with the neighbours of a row as its instrument.

    (a, b) = (Z'X)^-1 Z'R,   X = (-e^H, 1),   Z = (-z, 1),   Cov = (Z'X)^-1 Z' Omega Z (X'Z)^-1
    """
    strength = refuse_small_range(h)
    x = np.exp(h)
    instrument = neighbours(x)
    design, through = np.column_stack([-x, np.ones_like(x)]), np.column_stack([-instrument, np.ones_like(x)])
    loadings = np.linalg.solve(through.T @ design, through.T)
    a, b = loadings @ r
    residual = r - design @ (a, b)
    noise = weigh(residual, through, instrument * np.log(instrument))  # noise in e^H, where that in H is a share of H
    covariance = noise.sandwich(loadings)
    return Law(
        a=float(a),
        b=float(b),
        covariance=covariance,
        ceiling=ceiling(float(a), float(b), covariance),
        noise=noise,
        n=len(x),
        window=window,
        strength=strength,
        least_squares_a=float(-np.polyfit(x, r, 1)[0]),
        **diagnostics(residual, r, noise),
    )


def neighbours(x: np.ndarray) -> np.ndarray:
    """The mean of the rows near each row, but not so near that they share its noise.

    z_t = mean of x_s over g < |s - t| <= g + w,   w = sqrt(n) / 2,   g = (w - 1) / 2 rounded down
    """
    w = max(2, round(len(x) ** 0.5 / 2))
    gap = (w - 1) // 2
    reach = w + gap
    near = np.ones(2 * reach + 1)
    near[w:-w] = 0.0
    total, rows = (np.convolve(y, near)[reach:-reach] for y in (x, np.ones_like(x)))
    return total / rows


def first_stage(x: np.ndarray, instrument: np.ndarray) -> float:
    """F of the regression of x on the instrument, (n - 2) rho^2 / (1 - rho^2); 0 where rho is not positive."""
    if np.ptp(x) == 0 or np.ptp(instrument) == 0:
        return 0.0
    rho = float(np.corrcoef(x, instrument)[0, 1])
    return (len(x) - 2) * rho**2 / max(1 - rho**2, 1e-300) if rho > 0 else 0.0


def ceiling(a: float, b: float, covariance: np.ndarray) -> Estimate:
    """b - a plus and minus two standard errors, Var(b - a) = Var a + Var b - 2 Cov(a, b)."""
    error = 2 * float(np.array([-1.0, 1.0]) @ covariance @ np.array([-1.0, 1.0])) ** 0.5
    return Estimate(b - a, b - a - error, b - a + error, 0.954)


def diagnostics(residual: np.ndarray, r: np.ndarray, noise: Noise) -> dict[str, float]:
    n, total = len(r), float(((r - r.mean()) ** 2).sum())
    squares = float((residual**2).sum())
    one = float((noise.weight * noise.variance).sum() * (noise.scale**2).mean())
    return {
        "rmse": (squares / (n - 2)) ** 0.5,
        "r2": 1 - squares / total if total else 0.0,
        "autocorrelation": float((residual[1:] * residual[:-1]).sum()) / squares if squares else 0.0,
        "effective_n": min(float(n), one / noise.of_mean(n)),
    }
