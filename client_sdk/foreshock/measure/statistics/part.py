"""What a measurement leaves to the host: a payload on the device, the problem that it poses, and the series of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from foreshock.measure.problems.problem import Problem
from foreshock.series import SeriesSpec


@dataclass(frozen=True)
class Part:
    """One problem of one place."""

    name: str  # within the place
    problem: Problem
    payload: Callable[[], Tensor]  # made only where it is sent
    series: Callable[[], Sequence[SeriesSpec]]  # asked once

    def of(self, view: str) -> Part:
        """The same of one view among several."""
        # Not by `replace`, into which the compiler of torch 2.4 does not look.
        return Part(f"{view}: {self.name}", self.problem, self.payload, self.series)
