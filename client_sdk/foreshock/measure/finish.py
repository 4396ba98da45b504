"""Closed steps on their way to the recorder: a row of float32 and the host work that completes it. Needs numpy alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .problems.problem import solve as _solve_here

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foreshock.series import FrameSpec

    from .problems.problem import Payload, Problem, Solve


class Finish(Protocol):
    """Work that the device must not do (eigenvalues): run it away from the training thread, once."""

    def finish(self, solve: Solve | None = None) -> Mapping[int, float]:
        """Position in the frame -> value; ``solve`` does the arithmetic elsewhere, where there is such a place."""


@dataclass(eq=False)
class Unsolved:
    """A payload that has reached the host; the problem's numbers stand at the first positions of a frame."""

    payload: Payload
    problem: Problem
    account: Callable[[float], None]  # told how many seconds finishing took

    def finish(self, solve: Solve | None = None) -> Mapping[int, float]:
        """Position -> value, by this thread or by whoever solves instead; the payload is let go."""
        started = time.perf_counter()
        payload, self.payload = self.payload, np.empty(0, np.float32)
        values = (solve or _solve_here)(payload, self.problem)
        self.account(time.perf_counter() - started)
        return dict(enumerate(values))


@dataclass(frozen=True)
class StepRow:
    """The readings of one frame at one step; a position named by a Finish holds NaN until it has run."""

    step: int
    time: float  # seconds UTC, when the step was closed
    frame: FrameSpec
    values: NDArray[np.float32]
    pending: tuple[Finish, ...] = ()

    def completed(self) -> NDArray[np.float32]:
        """The values with every Finish done; seconds for a large matrix, so never on the training thread."""
        if not self.pending:
            return self.values
        values: NDArray[Any] = self.values.copy()
        for work in self.pending:
            for position, value in work.finish().items():
                values[position] = value
        return values
