"""How the noise of a run hangs together from row to row: an average over structures, not a choice of one."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular, toeplitz

# A structure is an autoregression of order 1 that holds `share` of the variance, and white noise that holds the rest.
STRUCTURES = np.array([(0.0, 0.0)] + [(phi, share) for phi in (0.3, 0.5, 0.7, 0.85, 0.95) for share in (0.4, 0.7, 1.0)])
POWERS = np.linspace(0, 1.6, 9)  # of the level that noise may grow with
LEAST_LEVEL = 0.02  # of the largest; a fitted curve may come near 0
WHITE = 1 / 3  # weight of white noise beforehand; the others share the rest as sqrt(1 - phi)


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
    """White noise 1/3; every other structure in proportion to sqrt(1 - phi)."""
    weight = np.sqrt(1 - STRUCTURES[:, 0])
    weight[0] = 0
    weight *= (1 - WHITE) / weight.sum()
    weight[0] = WHITE
    return weight


def weigh(residual: np.ndarray, design: np.ndarray) -> Noise:
    """The noise of residuals, structures weighted by restricted likelihood (Patterson & Thompson 1971) and prior.

    log l = -(log|C| + log|X'C^-1 X| + (n - p) log r'Pr) / 2,   sigma^2 = r'Pr / (n - p)
    with P = C^-1 - C^-1 X (X'C^-1 X)^-1 X'C^-1, after division of residual and design by the local scale. What the
    design took out of the residuals is accounted for; so autocorrelation is not underestimated in short series.
    """
    n, p = design.shape
    scale = local_scale(residual)
    correlation, roots = structures(n)
    both = np.column_stack([design, residual]) / scale[:, None]
    likelihood, variance = np.empty(len(STRUCTURES)), np.empty(len(STRUCTURES))
    for s, root in enumerate(roots):
        r = np.abs(np.diag(np.linalg.qr(solve_triangular(root, both, lower=True), mode="r")))
        rest = max(r[p] ** 2, np.finfo(float).tiny)
        variance[s] = rest / (n - p)
        likelihood[s] = -np.log(np.diag(root)).sum() - np.log(r[:p]).sum() - (n - p) / 2 * np.log(rest)
    weight = prior() * np.exp(likelihood - likelihood.max())
    return Noise(scale, weight / weight.sum(), variance, correlation)


def local_scale(residual: np.ndarray) -> np.ndarray:
    """Root mean square of the residuals within n/4 rows of each row: noise grows and shrinks along a run."""
    w = max(1, len(residual) // 4)
    near = np.ones(2 * w + 1)
    squares, rows = (np.convolve(x, near)[w:-w] for x in (residual**2, np.ones_like(residual)))
    return np.sqrt(np.maximum(squares / rows, np.finfo(float).tiny))


def level_scale(residual: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Root mean square of residuals that grow as a power of the level: sigma level^p, p the mean of its likelihood.

    log l(p) = -p sum log level - n/2 log sum (residual / level^p)^2
    """
    log = np.log(np.maximum(level, LEAST_LEVEL * level.max()) / level.max())
    each = np.maximum((residual**2 * np.exp(-2 * POWERS[:, None] * log)).mean(1), np.finfo(float).tiny)
    likelihood = -POWERS * log.sum() - len(residual) / 2 * np.log(each)
    weight = np.exp(likelihood - likelihood.max())
    scale = np.exp(float(POWERS @ weight / weight.sum()) * log)
    return scale * np.sqrt(np.maximum(((residual / scale) ** 2).mean(), np.finfo(float).tiny))
