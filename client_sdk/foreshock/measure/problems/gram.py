"""A Gram matrix of rows in; what is read of its spectrum, uncentred and centred, out. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .problem import Matrix, Payload
from .spectrum import BINS, SMALLEST, Spectrum, eigenvalues

CONSTANT = 1e-10  # share of the energy below which centred rows are rounding
SUMMED = 2.0**-23  # of the largest eigenvalue of a small matrix: float32 sums leave nothing below it
DOUBLE = 1024  # side up to which eigenvalues are taken in float64; beyond it twice the time buys no digit that is shown

_BOTH = ({"centered": "false"}, {"centered": "true"})
_RAW, _CENTRED = _BOTH
_BOTH_TOPS = [{**labels, "top": str(top)} for top in (1, 10) for labels in _BOTH]
READINGS: tuple[tuple[str, Mapping[str, str]], ...] = (
    *(("effective_rank", labels) for labels in _BOTH),
    *(("effective_rank_normalized", labels) for labels in _BOTH),
    *(("effective_rank_sigma", labels) for labels in _BOTH),
    *(("stable_rank", labels) for labels in _BOTH),
    *(("nuclear_rank", labels) for labels in _BOTH),
    *(("numerical_rank", labels) for labels in _BOTH),
    *(("top_share", labels) for labels in _BOTH_TOPS),
    ("rankme", _RAW),
    ("tail_rank", _RAW),
    ("matrix_entropy", _RAW),
    ("spectral_slope", _CENTRED),
    ("condition_number", _CENTRED),
)
HISTOGRAM: tuple[tuple[str, Mapping[str, str]], ...] = tuple(
    ("spectrum_histogram", {**_CENTRED, "log2_share": f"{SMALLEST * (1 - (index + 0.5) / BINS):.4f}"})
    for index in range(BINS)
)


@dataclass(frozen=True)
class Gram:
    """The payload: the matrix, two vectors of its side, then count, energies and a factor.

    >>> Gram(rows=500, width=8, centred=True, rounding=2.0**-25).side
    8
    """

    NAME: ClassVar[str] = "gram"

    rows: int
    width: int
    centred: bool  # the matrix is the Gram of the rows less their mean; else of the rows themselves
    rounding: float  # unit round-off of the input
    histogram: bool = False

    @property
    def side(self) -> int:
        """Rows when there are fewer of them than columns: both Grams have the same non-zero spectrum."""
        return min(self.rows, self.width)

    @property
    def dual(self) -> bool:
        """The matrix is rows × rows."""
        return self.rows < self.width

    @property
    def size(self) -> int:
        """Values in a payload."""
        return self.side * self.side + 2 * self.side + 4

    @property
    def readings(self) -> tuple[tuple[str, Mapping[str, str]], ...]:
        """Statistic and labels of each number."""
        return READINGS + HISTOGRAM if self.histogram else READINGS

    @property
    def answers(self) -> int:
        """How many numbers come out."""
        return len(self.readings)

    def solve(self, payload: Payload) -> tuple[float, ...]:
        """The readings in order: 0 for an all-zero matrix and, centred, for constant rows; NaN with fewer than two usable rows."""
        side = self.side
        flat = payload.astype(np.float64)
        matrix = flat[: side * side].reshape(side, side)
        first, second = flat[side * side :][:side], flat[side * (side + 1) :][:side]
        count, energy, remaining, factor = (float(value) for value in flat[side * (side + 2) :][:4])
        if math.isnan(count) or count < 2:
            return (math.nan,) * self.answers
        of_mean = self._of_mean(first, second, factor)
        other = matrix + of_mean if self.centred else matrix - of_mean
        finely = remaining < 0.5 * energy  # a mean that outweighs the rest would drown it in float32
        measured, derived = _eigenvalues(matrix, finely), _eigenvalues(other, finely)
        lowest = max(floor(count, energy, self.width, self.rounding), noise(measured))
        values = (derived, measured) if self.centred else (measured, derived)
        nothing = (energy <= 0, remaining <= CONSTANT * energy)
        # What n rows, and n rows less their mean, can have: the other eigenvalues are zero, and read as rounding.
        possible = (min(count, self.width), min(count - 1, self.width))
        raw, centred = (
            Spectrum.of(np.zeros(1) if empty else one[-int(rank) :], lowest)
            for one, empty, rank in zip(values, nothing, possible, strict=True)
        )
        return self._read(raw, centred, math.log(min(count, self.width)))

    def _read(self, raw: Spectrum, centred: Spectrum, most: float) -> tuple[float, ...]:
        both = (raw, centred)
        return (
            *(one.rank() for one in both),
            *(one.entropy() / most if most > 0 else (0.0 if one.total <= 0 else math.nan) for one in both),
            *(one.sigma_rank() for one in both),
            *(one.stable() for one in both),
            *(one.nuclear() for one in both),
            *(one.numerical() for one in both),
            *(one.share(top) for top in (1, 10) for one in both),
            raw.rankme(),
            raw.tail_rank(),
            raw.entropy(),
            centred.slope(),
            centred.condition(),
            *(centred.histogram() if self.histogram else ()),
        )

    def _of_mean(self, first: Matrix, second: Matrix, factor: float) -> Matrix:
        if not self.dual:
            return factor * np.outer(first, second)
        cross = np.outer(first, second)
        return cross + cross.T + factor * np.outer(second, second)


def floor(count: float, energy: float, width: int, rounding: float) -> float:
    """Eigenvalue below which rounding of the input alone could be what is seen."""
    # Twice the edge of the spectrum that rounding would give by itself (Bai–Yin).
    cell = math.sqrt(max(energy, 0.0) / (count * width))
    return (2 * rounding * cell * (math.sqrt(count) + math.sqrt(width))) ** 2


def noise(rising: Matrix) -> float:
    """Eigenvalue below which float32 sums have left nothing of a matrix with these ones: their errors partly cancel
    in a large one, and what they have pushed above zero is as large as what they have pushed below, within a factor of two
    whatever processor has summed."""
    return max(SUMMED * float(rising[-1]) * min(1.0, 6.0 / math.sqrt(len(rising))), -2.0 * float(rising[0]))


def _eigenvalues(matrix: Matrix, finely: bool) -> Matrix:
    """In rising order."""
    return eigenvalues(matrix, np.float64 if finely or len(matrix) <= DOUBLE else np.float32)
