"""How entropy falls: H(t) = f + (h0 - f) g(t) with g one of several shapes, averaged over what the data leave open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import stdtr, stdtrit

from isotherm.measure.laws.noise import STRUCTURES, local_scale, prior, structures

STRETCHED = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3)  # beta of g = exp(-(t / tau)^beta)
POWER = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # gamma of g = (1 + t / tau)^-gamma
SHAPES = len(STRETCHED) + len(POWER)
EXPONENT = np.array(STRETCHED + POWER)
IS_POWER = np.arange(SHAPES) >= len(STRETCHED)
COARSE, FINE = 16, 24  # values of tau per shape: first over all that is possible, then where the weight lies
PASSES = 2  # of refining; a third changes nothing that a test can see
UNLIKELY = 1e-4  # weight, against a shape's most likely tau, from which on tau is left out
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

    Beforehand shapes, log tau, h0, f in [0, 2 max h] and log sigma are equally likely; structures as in `noise`.
    Given shape, tau and structure, h is linear in (f, h0), whose posterior is a t distribution, truncated in f.
    """
    tau = np.tile(np.geomspace(np.diff(t).mean(), longest, COARSE), (SHAPES, 1))
    scale = local_scale(h - best(curves(t, tau), h))
    cells = Cells(curves(t, tau), h, scale, tau)
    for _ in range(PASSES):
        tau = refined(tau, cells.weight.sum(0).reshape(tau.shape))
        cells = Cells(curves(t, tau), h, scale, tau)
    rng = np.random.default_rng(seed)
    s, k = np.divmod(rng.choice(cells.weight.size, DRAWS, p=cells.weight.ravel()), tau.size)
    floor, start, variance = cells.draw(s, k, rng)
    kind, last, wander = k // FINE, variance * scale[-1] ** 2, STRUCTURES[s, 1]
    return Falls(start, floor, tau.ravel()[k], EXPONENT[kind], IS_POWER[kind], last * wander, last * (1 - wander))


def curves(t: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """g at every t for every shape and tau: [n, shapes x times]."""
    exponent, power = (np.repeat(x, tau.shape[1]) for x in (EXPONENT, IS_POWER))
    return shape(t[:, None], tau.ravel(), exponent, power)


def refined(tau: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """For each shape FINE values of tau over the range that is not unlikely, one step more at either end."""
    likely, end = weight >= UNLIKELY * weight.max(1, keepdims=True), tau.shape[1] - 1
    first, last = likely.argmax(1), end - likely[:, ::-1].argmax(1)
    rows = np.arange(SHAPES)
    return np.geomspace(tau[rows, np.maximum(first - 1, 0)], tau[rows, np.minimum(last + 1, end)], FINE, axis=1)


def best(g: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The least-squares curve of the best shape: only its residuals' local scale is used."""
    away = g - g.mean(0)
    along = (away * (h - h.mean())[:, None]).sum(0)
    size = np.maximum((away**2).sum(0), np.finfo(float).tiny)
    k = int((along**2 / size).argmax())
    return h.mean() + away[:, k] * along[k] / size[k]


class Cells:
    """The posterior of (f, h0) for every structure s and curve k, and the weight of each: fields of shape [S, K]."""

    def __init__(self, g: np.ndarray, h: np.ndarray, scale: np.ndarray, tau: np.ndarray) -> None:
        n, curves = g.shape
        self.freedom, self.highest = n - 2, 2 * h.max()
        self.floor, self.start, self.variance, log = np.empty((4, len(STRUCTURES), curves))
        self.ff, self.fs, self.ss = np.empty((3, len(STRUCTURES), curves))  # the inverse of the normal matrix
        rows = np.column_stack([np.ones(n), h, g]) / scale[:, None]
        for s, root in enumerate(structures(n)[1]):
            white = solve_triangular(root, rows, lower=True, check_finite=False)
            log[s] = self.solve(s, white[:, :1] - white[:, 2:], white[:, 2:], white[:, 1]) - np.log(np.diag(root)).sum()
        self.error = np.sqrt(self.variance * self.ff)
        self.below, self.above = (stdtr(self.freedom, (x - self.floor) / self.error) for x in (0.0, self.highest))
        widths = np.log(tau[:, -1] / tau[:, 0]).repeat(tau.shape[1])
        log += np.log(np.maximum(self.above - self.below, 1e-300)) + np.log(prior())[:, None] + np.log(widths)
        weight = np.exp(log - log.max())
        self.weight = weight / weight.sum()

    def solve(self, s: int, u: np.ndarray, g: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Least squares of h = f u + h0 g, u = 1 - g, in whitened rows; the log marginal likelihood but for |C|."""
        uu, ug, gg = ((x * y).sum(0) for x, y in ((u, u), (u, g), (g, g)))
        det = np.maximum(uu * gg - ug**2, 1e-12 * uu * gg + np.finfo(float).tiny)
        self.ff[s], self.fs[s], self.ss[s] = gg / det, -ug / det, uu / det
        uh, gh = u.T @ h, g.T @ h
        self.floor[s] = self.ff[s] * uh + self.fs[s] * gh
        self.start[s] = self.fs[s] * uh + self.ss[s] * gh
        rest = ((h[:, None] - u * self.floor[s] - g * self.start[s]) ** 2).sum(0)
        rest = np.maximum(rest, SMALLEST * (h @ h))
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
