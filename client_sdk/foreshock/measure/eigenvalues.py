"""A Gram matrix that has reached the host in; effective ranks, finished in float64, out. Needs numpy alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONSTANT = 1e-10  # share of the energy below which centred rows are rounding


@dataclass(frozen=True)
class Shape:
    """What must be known to read a payload: the Gram, two vectors of its side, then count, energies and a factor."""

    rows: int
    width: int
    centred: bool  # the matrix is the Gram of the rows less their mean; else of the rows themselves
    rounding: float  # unit round-off of the input

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


Solve = Callable[[NDArray[np.float32], Shape], tuple[float, float, float, float]]  # as `ranks` does


@dataclass(eq=False)
class Spectrum:
    """Effective rank and its normalised entropy, uncentred and centred, at the first four positions of a frame."""

    payload: NDArray[np.float32]
    shape: Shape
    account: Callable[[float], None]  # told how many seconds finishing took

    def finish(self, solve: Solve | None = None) -> Mapping[int, float]:
        """Position -> value, by this thread or by whoever solves instead; the payload is let go."""
        started = time.perf_counter()
        payload, self.payload = self.payload, np.empty(0, np.float32)
        values = (solve or ranks)(payload, self.shape)
        self.account(time.perf_counter() - started)
        return dict(enumerate(values))


def ranks(payload: NDArray[np.float32], shape: Shape) -> tuple[float, float, float, float]:
    """Effective rank e^S, uncentred and centred, then S / ln min(n, d), uncentred and centred.

    0 for an all-zero matrix and, centred, for constant rows; NaN with fewer than two usable rows.
    """
    side = shape.side
    flat = payload.astype(np.float64)
    matrix = flat[: side * side].reshape(side, side)
    first, second = flat[side * side :][:side], flat[side * (side + 1) :][:side]
    count, energy, remaining, factor = (float(value) for value in flat[side * (side + 2) :][:4])
    if math.isnan(count) or count < 2:
        return (math.nan,) * 4
    matrix = (matrix + matrix.T) / 2
    if shape.dual:
        cross = np.outer(first, second)
        of_mean = cross + cross.T + factor * np.outer(second, second)
    else:
        of_mean = factor * np.outer(first, second)
    uncentred, centred = (matrix + of_mean, matrix) if shape.centred else (matrix, matrix - of_mean)
    # Twice the edge of the spectrum that rounding alone would give (Bai–Yin): what lies below is not the data's.
    cell = math.sqrt(max(energy, 0.0) / (count * shape.width))
    floor = (2 * shape.rounding * cell * (math.sqrt(count) + math.sqrt(shape.width))) ** 2
    entropies = (
        _entropy(uncentred, floor, nothing=energy <= 0),
        _entropy(centred, floor, nothing=remaining <= CONSTANT * energy),
    )
    most = math.log(min(count, shape.width))
    return (
        *(math.exp(entropy) if entropy is not None else 0.0 for entropy in entropies),
        *(
            (entropy / most if most > 0 else math.nan) if entropy is not None else 0.0
            for entropy in entropies
        ),
    )  # type: ignore[return-value]  # two and two


def _entropy(matrix: NDArray[np.float64], floor: float, *, nothing: bool) -> float | None:
    """Von Neumann entropy in nats; None for a matrix without energy."""
    if nothing:
        return None
    values = np.linalg.eigvalsh(matrix).clip(min=0.0)
    values = values[values > floor]
    if not len(values):
        return None
    shares = values / values.sum()
    return float(-(shares * np.log(shares)).sum())
