"""Eigenvalues in, with how often each stands where that is an estimate; what is read of a spectrum out. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .problem import Matrix

RANKME = 1e-7  # added to each share: Garrido et al. 2023
TAIL = 0.01  # of the singular values: Kumar et al. 2021
SLOPE = (
    11,
    100,
)  # positions of the eigenvalues through which the slope is laid: past the outliers, before the noise
FEWEST = 10  # of those
BINS = 64  # of the histogram
SMALLEST = -40.0  # log2 of a share, its left end


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues, largest first, those below the floor set to zero; ``weights`` says how many each stands for."""

    values: Matrix
    weights: Matrix
    raw: Matrix  # the same values before the floor

    @classmethod
    def of(cls, values: Matrix, floor: float = 0.0, weights: Matrix | None = None) -> Spectrum:
        """Of eigenvalues in any order; what rounding alone would give lies below the floor."""
        order = np.argsort(values)[::-1]
        raw = values[order].clip(min=0.0)
        weights = np.ones_like(raw) if weights is None else weights[order]
        return cls(np.where(raw > floor, raw, 0.0), weights, raw)

    @property
    def total(self) -> float:
        """Sum of the eigenvalues."""
        return float(self.weights @ self.values)

    def entropy(self) -> float:
        """−Σ q ln q with q = λ/Σλ, nats; 0 without eigenvalues."""
        return _entropy(self.values, self.weights)

    def sigma_rank(self) -> float:
        """e to the entropy of σ/Σσ, σ = √λ."""
        return math.exp(_entropy(np.sqrt(self.values), self.weights)) if self.total > 0 else 0.0

    def rankme(self) -> float:
        """The same with Garrido's constant, and without a floor."""
        sigma = np.sqrt(self.raw)
        total = float(self.weights @ sigma)
        if total <= 0:
            return 0.0
        shares = sigma / total + RANKME
        return math.exp(-float(self.weights @ (shares * np.log(shares))))

    def rank(self) -> float:
        """e to the entropy."""
        return math.exp(self.entropy()) if self.total > 0 else 0.0

    def stable(self) -> float:
        """Σλ/λ₁."""
        return self.total / float(self.values[0]) if self.total > 0 else 0.0

    def nuclear(self) -> float:
        """(Σσ)²/Σλ."""
        return float(self.weights @ np.sqrt(self.values)) ** 2 / self.total if self.total > 0 else 0.0

    def numerical(self) -> float:
        """How many are above the floor."""
        return float(self.weights @ (self.values > 0))

    def tail_rank(self, tail: float = TAIL) -> float:
        """The fewest directions that hold all but ``tail`` of Σσ; a fraction where an estimate stands for several."""
        held = np.cumsum(self.weights * np.sqrt(self.values))
        if not len(held) or held[-1] <= 0:
            return 0.0
        wanted = (1.0 - tail) * held[-1]
        last = int(np.searchsorted(held, wanted * (1 - 1e-12)))
        before = float(held[last - 1]) if last else 0.0
        part = (wanted - before) / float(held[last] - before)
        whole = float(self.weights[:last].sum())
        return whole + (1.0 if self.weights[last] == 1.0 else part * float(self.weights[last]))

    def share(self, largest: int) -> float:
        """Of Σλ, in the largest so many."""
        if self.total <= 0:
            return 0.0
        counted = np.minimum(np.cumsum(self.weights), largest)
        return float(np.diff(counted, prepend=0.0) @ self.values) / self.total

    def slope(self) -> float:
        """−d ln λ_i/d ln i over SLOPE and at most half of what is above the floor; NaN with fewer than FEWEST points."""
        first, last = SLOPE
        last = min(last, int(self.numerical()) // 2)
        if last - first + 1 < FEWEST:
            return math.nan
        x = np.log(np.arange(first, last + 1))
        y = np.log(self.values[first - 1 : last])
        x = x - x.mean()
        return -float(x @ y) / float(x @ x)

    def condition(self) -> float:
        """λ₁ over the smallest above the floor; NaN without any."""
        held = self.values[self.values > 0]
        return float(held[0] / held[-1]) if len(held) else math.nan

    def histogram(self) -> Sequence[float]:
        """How many eigenvalues lie in each of BINS equal parts of log2(λ/Σλ), from SMALLEST to 0; smaller ones in the first."""
        if self.total <= 0:
            return (0.0,) * BINS
        held = self.values > 0
        level = np.log2(self.values[held] / self.total).clip(SMALLEST, 0.0)
        counts, _ = np.histogram(level, BINS, (SMALLEST, 0.0), weights=self.weights[held])
        return tuple(counts.tolist())


def eigenvalues(matrix: Matrix, precision: type[np.floating[Any]] = np.float64) -> Matrix:
    """Of the symmetric part, in rising order."""
    symmetric = ((matrix + matrix.T) / 2).astype(precision, copy=False)
    return np.linalg.eigvalsh(symmetric).astype(np.float64, copy=False)


def _entropy(values: Matrix, weights: Matrix) -> float:
    total = float(weights @ values)
    if total <= 0:
        return 0.0
    held = values > 0
    shares = values[held] / total
    return -float(weights[held] @ (shares * np.log(shares)))
