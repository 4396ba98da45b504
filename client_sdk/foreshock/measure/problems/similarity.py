"""Cosines of all pairs of samples in; how many different ones they amount to out. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .problem import Payload
from .spectrum import Spectrum, eigenvalues

READINGS: tuple[tuple[str, Mapping[str, str]], ...] = (("vendi_score", {}),)


@dataclass(frozen=True)
class Similarity:
    """The payload: the matrix, zero in the rows and columns of samples that do not count, then how many do."""

    NAME: ClassVar[str] = "similarity"

    samples: int

    @property
    def side(self) -> int:
        """Of the matrix."""
        return self.samples

    @property
    def size(self) -> int:
        """Values in a payload."""
        return self.samples * self.samples + 1

    @property
    def answers(self) -> int:
        """How many numbers come out."""
        return len(READINGS)

    def solve(self, payload: Payload) -> tuple[float, ...]:
        """The Vendi score: e to the entropy of the eigenvalues of K/n; NaN without samples."""
        flat = payload.astype(np.float64)
        count = float(flat[-1])
        if not count >= 1:
            return (math.nan,)
        matrix = flat[:-1].reshape(self.samples, self.samples)
        return (Spectrum.of(eigenvalues(matrix)).rank(),)
