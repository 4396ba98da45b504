"""The Gram matrix of a weight in; its rank, and the power law in the tail of its eigenvalues, out. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .gram import noise
from .problem import Matrix, Payload
from .spectrum import Spectrum, eigenvalues

READINGS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("weight_effective_rank", {}),
    ("weight_tail_exponent", {}),
    ("weight_tail_fit", {}),
)
FEWEST = 50  # eigenvalues: with fewer no exponent is told
STARTS = 512  # of the tail, at most, evenly spaced in rank
SHORTEST = 5  # eigenvalues in a tail


@dataclass(frozen=True)
class Weights:
    """The payload: Wᵀ W or W Wᵀ, whichever is smaller, divided by a number that does not matter."""

    NAME: ClassVar[str] = "weights"

    rows: int
    width: int

    @property
    def side(self) -> int:
        """Of the matrix."""
        return min(self.rows, self.width)

    @property
    def size(self) -> int:
        """Values in a payload."""
        return self.side * self.side

    @property
    def answers(self) -> int:
        """How many numbers come out."""
        return len(READINGS)

    def solve(self, payload: Payload) -> tuple[float, ...]:
        """Effective rank of the singular values squared; exponent of the tail; distance of the tail from that power law."""
        matrix = payload.astype(np.float64).reshape(self.side, self.side)
        if not np.isfinite(matrix).all():
            return (math.nan,) * self.answers
        values = eigenvalues(matrix)
        spectrum = Spectrum.of(values, noise(values))
        return (spectrum.rank(), *tail(spectrum.values[spectrum.values > 0]))


def tail(falling: Matrix) -> tuple[float, float]:
    """Exponent of the density and Kolmogorov–Smirnov distance of the power law x ≥ x_min that fits best, by x_min.

    ``falling`` are positive values, largest first. Of every start of the tail the exponent is the likeliest one
    (Clauset, Shalizi & Newman 2009, equation 3.1), and that start is taken whose distance is smallest.
    """
    count = len(falling)
    if count < FEWEST:
        return math.nan, math.nan
    logs = np.log(falling)
    starts = np.unique(np.linspace(SHORTEST, count, min(STARTS, count - SHORTEST + 1)).astype(int))
    sums = np.cumsum(logs)[starts - 1] - starts * logs[starts - 1]
    starts, sums = starts[sums > 0], sums[sums > 0]
    if not len(starts):
        return math.nan, math.nan
    exponents = 1.0 + starts / sums
    distances = np.array(
        [_distance(logs[:start], exponent) for start, exponent in zip(starts, exponents, strict=True)]
    )
    best = int(np.argmin(distances))
    return float(exponents[best]), float(distances[best])


def _distance(falling: Matrix, exponent: float) -> float:
    """Largest difference between the share of values above each one and what the power law says of it."""
    survival = np.exp((1.0 - exponent) * (falling - falling[-1]))
    rank = np.arange(1, len(falling) + 1) / len(falling)
    return float(np.maximum(np.abs(rank - survival), np.abs(rank - 1.0 / len(falling) - survival)).max())
