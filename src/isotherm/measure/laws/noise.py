"""How the noise of a run hangs together from row to row: an average over structures, not a choice of one."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular, toeplitz

# A structure is an autoregression of order 1 that holds `share` of the variance, and white noise that holds the rest.
STRUCTURES = np.array([(0.0, 0.0)] + [(phi, share) for phi in (0.3, 0.5, 0.7, 0.85, 0.95) for share in (0.4, 0.7, 1.0)])
POWERS, CONSTANT = (
    x.reshape(-1, 1) for x in np.meshgrid((-1, -0.5, 0.5, 1, 1.5, 2), (0, 0.01, 0.03, 0.1, 0.3, 0.6, 1))
)
LEAST_LEVEL = 0.02  # of the largest; a fitted curve may come near 0
WHITE = 1 / 4  # weight of white noise beforehand; the others share the rest as (1 - phi)^(1/3)


@dataclass(frozen=True)
class Noise:
    """Noise of covariance sum_s w_s sigma_s^2 D C_s D: D scales each row, C_s are the correlations of a structure."""

    scale: np.ndarray  # [n], the diagonal of D
    weight: np.ndarray  # [S]
    variance: np.ndarray  # [S]
    correlation: np.ndarray  # [S, n, n]

    def sandwich(self, loadings: np.ndarray) -> np.ndarray:
        """Covariance of `loadings @ noise`: sum_s w_s sigma_s^2 L D C_s D L'."""
        scaled = loadings * self.scale
        each = np.einsum("pi,sij,qj->spq", scaled, self.correlation, scaled, optimize=True)
        return np.einsum("s,spq->pq", self.weight * self.variance, each)

    def of_mean(self, rows: int) -> float:
        """Variance of the mean of so many adjacent rows like the last ones."""
        rows = min(rows, len(self.scale))
        loadings = np.zeros((1, len(self.scale)))
        loadings[0, -rows:] = 1 / rows
        return float(self.sandwich(loadings)[0, 0])


@functools.lru_cache(maxsize=8)
def structures(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation matrices C_ij = share phi^|i-j| + (1 - share) [i = j] of all structures, and their Cholesky roots."""
    lags = np.arange(n)
    every = np.stack([toeplitz(np.where(lags, share * phi**lags, 1.0)) for phi, share in STRUCTURES])
    return every, np.stack([cholesky(c, lower=True) for c in every])


def prior() -> np.ndarray:
    """White noise 1/4; every other structure in proportion to (1 - phi)^(1/3)."""
    weight = (1 - STRUCTURES[:, 0]) ** (1 / 3)
    weight[0] = 0
    weight *= (1 - WHITE) / weight.sum()
    weight[0] = WHITE
    return weight


def weigh(residual: np.ndarray, design: np.ndarray, level: np.ndarray) -> Noise:
    """The noise of residuals, structures weighted by restricted likelihood (Patterson & Thompson 1971) and prior.

    log l = -(log|C| + log|X'C^-1 X| + (n - p) log r'Pr) / 2,   sigma^2 = r'Pr / (n - p)
    with P = C^-1 - C^-1 X (X'C^-1 X)^-1 X'C^-1. What the design took out of the residuals is accounted for; so
    autocorrelation is not underestimated in short series. sigma is that of residual and design divided by the scale,
    l that of both as they are: the rows with the most noise say most of how it hangs together, as they do of a.
    """
    n, p = design.shape
    scale = level_scale(residual, level)
    correlation, roots = structures(n)
    both = np.column_stack([design, residual])
    likelihood, variance = np.empty(len(STRUCTURES)), np.empty(len(STRUCTURES))
    for s, root in enumerate(roots):
        variance[s] = triangle(root, both / scale[:, None])[p] ** 2 / (n - p)
        r = triangle(root, both)
        likelihood[s] = -np.log(np.diag(root)).sum() - np.log(r[:p]).sum() - (n - p) * np.log(r[p])
    weight = prior() * np.exp(likelihood - likelihood.max())
    return Noise(scale, weight / weight.sum(), variance, correlation)


def triangle(root: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The diagonal of R in root^-1 columns = Q R: what each column adds to those before it, never quite 0."""
    r = np.linalg.qr(solve_triangular(root, columns, lower=True), mode="r")
    return np.maximum(np.abs(np.diag(r)), np.finfo(float).tiny ** 0.5)


def level_scale(residual: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Root mean square of residuals whose variance is constant, grows as a power of the level, or is a sum of both.

    v_t = c + (1 - c) (level_t / max level)^2p,   log l(p, c) = -1/2 sum log v_t - n/2 log sum residual_t^2 / v_t
    The variance is the mean over all p and c, weighted by l.
    """
    part = np.maximum(level / level.max(), LEAST_LEVEL)
    v = CONSTANT + (1 - CONSTANT) * part ** (2 * POWERS)
    size = np.maximum((residual**2 / v).mean(1), np.finfo(float).tiny)
    likelihood = -np.log(v).sum(1) / 2 - len(residual) / 2 * np.log(size)
    weight = np.exp(likelihood - likelihood.max())
    return np.sqrt((weight * size / weight.sum()) @ v)
