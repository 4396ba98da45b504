"""What samples differ by, whitened by what their views differ by, in; the rank of it out. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .problem import Payload
from .spectrum import eigenvalues

READINGS: tuple[tuple[str, Mapping[str, str]], ...] = (("lidar", {}),)
EPSILON = 1e-8  # added to each share: Thilak et al. 2024


@dataclass(frozen=True)
class Lidar:
    """The payload: Zᵀ Z/(C − 1) or Z Zᵀ/(C − 1), whichever is smaller, then the number of samples and the energy, 0 where it is rounding."""

    NAME: ClassVar[str] = "lidar"

    samples: int
    width: int

    @property
    def side(self) -> int:
        """Of the matrix."""
        return min(self.samples, self.width)

    @property
    def size(self) -> int:
        """Values in a payload."""
        return self.side * self.side + 2

    @property
    def answers(self) -> int:
        """How many numbers come out."""
        return len(READINGS)

    def solve(self, payload: Payload) -> tuple[float, ...]:
        """e to the entropy of the eigenvalues; 0 where the samples do not differ; NaN with fewer than two samples."""
        flat = payload.astype(np.float64)
        count, energy = float(flat[-2]), float(flat[-1])
        if not count >= 2:
            return (math.nan,)
        if energy <= 0:
            return (0.0,)
        matrix = flat[:-2].reshape(self.side, self.side)
        values = eigenvalues(matrix).clip(min=0.0)
        if values.sum() <= 0:
            return (0.0,)
        shares = values / values.sum() + EPSILON
        return (math.exp(-float(shares @ np.log(shares))),)
