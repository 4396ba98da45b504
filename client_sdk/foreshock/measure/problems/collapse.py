"""The covariance between classes, and the one within seen from it, in; how wide the classes are in those directions out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .problem import Matrix, Payload

READINGS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("nc1", {"weighting": "equal"}),
    ("nc1", {"weighting": "size"}),
)
RANK = 1e-6  # of the largest eigenvalue: what is smaller is rounding


@dataclass(frozen=True)
class Collapse:
    """The payload: K = M Mᵀ and R = Pᵀ P with P = W Mᵀ, twice, then how many classes were seen.

    M are the weighted class means and W the weighted rows less their class's mean, so that tr(Σ_W Σ_B⁺) = tr(K⁺² R).
    """

    NAME: ClassVar[str] = "collapse"

    classes: int

    @property
    def side(self) -> int:
        """Of each matrix."""
        return self.classes

    @property
    def size(self) -> int:
        """Values in a payload."""
        return 4 * self.classes * self.classes + 1

    @property
    def answers(self) -> int:
        """How many numbers come out."""
        return len(READINGS)

    def solve(self, payload: Payload) -> tuple[float, ...]:
        """tr(Σ_W Σ_B⁺)/C, classes counting alike and by size; NaN with fewer than two classes, or where all means are one."""
        flat = payload.astype(np.float64)
        found = float(flat[-1])
        if not found >= 2:
            return (math.nan,) * self.answers
        k, r, k_size, r_size = flat[:-1].reshape(4, self.classes, self.classes)
        return _ratio(k, r) / found, _ratio(k_size, r_size) / found


def _ratio(between: Matrix, seen: Matrix) -> float:
    values, vectors = np.linalg.eigh((between + between.T) / 2)
    held = values > RANK * values[-1]
    if not held.any():
        return math.nan
    v = vectors[:, held] / values[held]
    return float(np.einsum("ci,cd,di->", v, seen, v))
