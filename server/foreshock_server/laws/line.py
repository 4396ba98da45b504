"""Pairs (x, y) -> the straight line through them, with honest errors when neighbours err alike and x was itself measured. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_ALIKE = 0.9  # correlation of neighbouring residuals: more than that is not made up for


@dataclass(frozen=True)
class Line:
    """y = intercept + slope * x by least squares, and what is needed to say how sure that is."""

    slope: float
    intercept: float
    residual: float  # standard deviation of y about the line
    explained: float  # R squared of the pairs
    alike: float  # correlation of neighbouring residuals, from 0 to MOST_ALIKE
    reliability: float  # share of the variance of x that is not its own noise
    freedom: float  # degrees of freedom that are left when neighbours that err alike count as fewer
    points: int
    mean_x: float
    spread_x: float  # sum of squared distances from the mean, noise taken away

    def at(self, x: float) -> float:
        """The line's value."""
        return self.intercept + self.slope * x

    def error(self, x: float) -> float:
        """Standard error of the line's value at x."""
        wider = (1 + self.alike) / (1 - self.alike)
        return self.residual * math.sqrt(wider * (1 / self.points + (x - self.mean_x) ** 2 / self.spread_x))

    def interval(self, x: float, level: float) -> tuple[float, float]:
        """Where the line's value at x lies with this probability, by Student's t."""
        half = student(level, self.freedom) * self.error(x)
        return self.at(x) - half, self.at(x) + half


def line(x: Floats, y: Floats, noise_x: float = 0.0, noise_xy: float = 0.0) -> Line | None:
    """The line through pairs [n] in the order of time; None for fewer than four, or when x says nothing beyond its noise.

    `noise_x` and `noise_xy` are the variance of the noise of one x and its covariance with that of y: without them a noisy x
    makes the line too flat (errors in variables, corrected by moments: Fuller 1987).
    """
    n = len(x)
    if n < 4:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    raw = float(dx @ dx)
    sxx, sxy, syy = raw - (n - 1) * noise_x, float(dx @ dy) - (n - 1) * noise_xy, float(dy @ dy)
    if not (sxx > 1e-12 * (1.0 + float(x @ x)) and math.isfinite(sxy) and math.isfinite(syy)):
        return None
    slope = sxy / sxx
    rest = dy - slope * dx
    sum_of_squares = float(rest @ rest)
    alike = 0.0
    if sum_of_squares > 1e-24 * (1.0 + float(y @ y)):
        alike = float(rest[1:] @ rest[:-1]) / sum_of_squares
        alike = min(
            MOST_ALIKE, max(0.0, alike + (1 + 3 * alike) / n)
        )  # an estimate from few is too low by that
    freedom = max(1.0, n * (1 - alike) / (1 + alike) - 2)
    return Line(
        slope=slope,
        intercept=float(y.mean() - slope * x.mean()),
        residual=math.sqrt(sum_of_squares / (n - 2)),
        explained=max(0.0, 1 - sum_of_squares / syy) if syy > 0 else 0.0,
        alike=alike,
        reliability=sxx / raw,
        freedom=freedom,
        points=n,
        mean_x=float(x.mean()),
        spread_x=sxx,
    )


def noise(x: Floats, y: Floats) -> tuple[float, float]:
    """Variance of what is noise in readings x [n], and its covariance with that of y, from second differences: a trend is none."""
    if len(x) < 3:
        return 0.0, 0.0
    bend_x, bend_y = np.diff(x, 2), np.diff(y, 2)
    return float(np.mean(bend_x**2)) / 6, float(np.mean(bend_x * bend_y)) / 6


def student(level: float, freedom: float) -> float:
    """How many standard errors to either side hold this probability under Student's t: Cornish and Fisher's expansion."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    if freedom < 3:  # the expansion is no good there; exact for 1 and 2
        one = math.tan(math.pi * level / 2)
        two = level * math.sqrt(2 / (1 - level**2))
        return one if freedom < 2 else two
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
