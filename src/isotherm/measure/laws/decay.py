"""How entropy falls: H(t) = f + (h0 - f) g(t) with g one of several shapes, averaged over what the data leave open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import stdtr, stdtrit

from isotherm.measure.laws.grid import FEW, Grid
from isotherm.measure.laws.noise import STRUCTURES, level_scale, prior, structures

SEARCHES = 12  # of the cells that matter, as if noise were white, at most
PASSES = 12  # of refining with every structure of noise, at most
ENOUGH = 6  # cells of tau, and of exponents, that are not unlikely
FAR, UNLIKELY = -100.0, -9.0  # log weight, against the most likely, of cells that a search and a pass leave out
DRAWS = 4000
SMALLEST = 1e-12  # share of the sum of squares that is always taken for noise


@dataclass(frozen=True)
class Falls:
    """Draws from the posterior of the fall; every field but `noise_*` has shape [draws]."""

    start: np.ndarray  # h0
    floor: np.ndarray  # f
    tau: np.ndarray
    exponent: np.ndarray  # beta or gamma
    power: np.ndarray  # bool: a power of time, else a stretched exponential
    wander: np.ndarray  # variance of that part of the noise that is still there in the next row
    white: np.ndarray  # variance of the rest

    def entropy(self, t: float) -> np.ndarray:
        """H(t) without noise, per draw."""
        return self.floor + (self.start - self.floor) * shape(t, self.tau, self.exponent, self.power)

    def time_of(self, share: float) -> np.ndarray:
        """The t at which g(t) = 1 - share, so that this share of the fall has happened."""
        with np.errstate(over="ignore"):
            return self.tau * np.where(
                self.power,
                (1 - share) ** (-1 / self.exponent) - 1,
                (-np.log(1 - share)) ** (1 / self.exponent),
            )


def shape(t: np.ndarray | float, tau: np.ndarray, exponent: np.ndarray, power: np.ndarray) -> np.ndarray:
    """g(t): 1 at t = 0, falling to 0."""
    return np.where(power, (1 + t / tau) ** -exponent, np.exp(-((t / tau) ** exponent)))


def falls(t: np.ndarray, h: np.ndarray, longest: float, seed: int) -> Falls:
    """Draws of (shape, tau, f, h0) given the rows: t from 0 on, tau up to `longest`.

    Beforehand both families, beta, log gamma, log tau, h0, f in [0, 2 max h] and log sigma are equally likely;
    structures as in `noise`. Given shape, tau and structure, h is linear in (f, h0), whose posterior is a t
    distribution, truncated in f.
    """
    grid, cells = settled(t, h, longest)
    rng = np.random.default_rng(seed)
    s, k = np.divmod(rng.choice(cells.weight.size, DRAWS, p=cells.weight.ravel()), len(grid.tau))
    floor, start, variance = cells.draw(s, k, rng)
    last, wander = variance * cells.scale[-1] ** 2, STRUCTURES[s, 1]
    return Falls(start, floor, grid.tau[k], grid.exponent[k], grid.power[k], last * wander, last * (1 - wander))


def settled(t: np.ndarray, h: np.ndarray, longest: float) -> tuple[Grid, Cells]:
    """A grid that is fine where the weight lies: searched for with white noise, then refined with every structure."""
    grid = Grid.whole(float(np.diff(t).mean()), longest)
    for _ in range(SEARCHES):
        cells = Cells(grid, t, h, 1)
        if grid.fine(cells.log[0], FAR, FEW):
            break
        grid = grid.refined(cells.log[0], FAR)
    cells = Cells(grid, t, h, len(STRUCTURES))
    for _ in range(PASSES):
        log = np.logaddexp.reduce(cells.log)
        if grid.fine(log, UNLIKELY, ENOUGH):
            break
        grid = grid.refined(log, UNLIKELY)
        cells = Cells(grid, t, h, len(STRUCTURES))
    return grid, cells


def best(g: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The least-squares curve of the best shape: only the scale of its residuals is used."""
    away = g - g.mean(0)
    along = (away * (h - h.mean())[:, None]).sum(0)
    size = np.maximum((away**2).sum(0), np.finfo(float).tiny)
    k = int((along**2 / size).argmax())
    return h.mean() + away[:, k] * along[k] / size[k]


class Cells:
    """The posterior of (f, h0) for every structure s and curve k, and the weight of each: fields of shape [S, K]."""

    def __init__(self, grid: Grid, t: np.ndarray, h: np.ndarray, structured: int) -> None:
        n, g = len(t), shape(t[:, None], grid.tau, grid.exponent, grid.power)
        self.freedom, self.highest = n - 2, 2 * h.max()
        fitted = best(g, h)
        self.scale = level_scale(h - fitted, fitted)
        self.floor, self.start, self.variance, log = np.empty((4, structured, g.shape[1]))
        self.ff, self.fs, self.ss = np.empty((3, structured, g.shape[1]))  # the inverse of the normal matrix
        rows = np.column_stack([np.ones(n), h, g]) / self.scale[:, None]
        for s, root in enumerate(structures(n)[1][:structured]):
            white = solve_triangular(root, rows, lower=True, check_finite=False)
            log[s] = self.solve(s, white[:, 0], white[:, 1], white[:, 2:]) - np.log(np.diag(root)).sum()
        self.error = np.sqrt(self.variance * self.ff)
        self.below, self.above = (stdtr(self.freedom, (x - self.floor) / self.error) for x in (0.0, self.highest))
        log += np.log(np.maximum(self.above - self.below, 1e-300)) + np.log(prior())[:structured, None] + grid.log_size
        self.log = log - np.logaddexp.reduce(log, axis=None)
        self.weight = np.exp(self.log)

    def solve(self, s: int, one: np.ndarray, h: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Least squares of h = f u + h0 g, u = 1 - g, in whitened rows; the log marginal likelihood but for |C|."""
        og, gh, gg = one @ g, h @ g, np.einsum("ij,ij->j", g, g)
        uu, ug, uh = one @ one - 2 * og + gg, og - gg, one @ h - gh
        det = np.maximum(uu * gg - ug**2, 1e-12 * uu * gg + np.finfo(float).tiny)
        self.ff[s], self.fs[s], self.ss[s] = gg / det, -ug / det, uu / det
        self.floor[s] = self.ff[s] * uh + self.fs[s] * gh
        self.start[s] = self.fs[s] * uh + self.ss[s] * gh
        left = g * (self.floor[s] - self.start[s]) - one[:, None] * self.floor[s] + h[:, None]
        rest = np.maximum(np.einsum("ij,ij->j", left, left), SMALLEST * (h @ h))
        self.variance[s] = rest / self.freedom
        return -0.5 * np.log(det) - self.freedom / 2 * np.log(rest)

    def draw(self, s: np.ndarray, k: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """f from its truncated t distribution, then sigma^2 and h0 given f."""
        level = rng.uniform(self.below[s, k], self.above[s, k])
        z = stdtrit(self.freedom, np.clip(level, 1e-15, 1 - 1e-15))
        floor = np.clip(self.floor[s, k] + z * self.error[s, k], 0, self.highest)
        variance = self.variance[s, k] * (self.freedom + z**2) / rng.chisquare(self.freedom + 1, len(s))
        slope = self.fs[s, k] / self.ff[s, k]
        left = np.maximum(self.ss[s, k] - slope * self.fs[s, k], 0)
        start = self.start[s, k] + slope * z * self.error[s, k] + np.sqrt(variance * left) * rng.standard_normal(len(s))
        return floor, start, variance
