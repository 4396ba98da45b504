"""What a problem is, and who solves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Payload = NDArray[np.float32]
Matrix = NDArray[np.float64]


class Problem(Protocol):
    """One payload of float32 in, some numbers out. A dataclass whose fields are all numbers."""

    NAME: ClassVar[str]

    @property
    def size(self) -> int:
        """Values in the payload."""

    @property
    def side(self) -> int:
        """Of the largest matrix whose eigenvalues are taken: the time goes with its cube."""

    @property
    def answers(self) -> int:
        """How many numbers come out."""

    def solve(self, payload: Payload) -> tuple[float, ...]:
        """Those numbers; LinAlgError where the arithmetic did not converge."""


Solve = Callable[[Payload, Problem], tuple[float, ...]]


def solve(payload: Payload, problem: Problem) -> tuple[float, ...]:
    """By the thread that calls it."""
    return problem.solve(payload)
