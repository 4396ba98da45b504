"""What the training loop and our own parts tell of our cost -> the row of series that the monitor records about itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.measure.statistics.catalogue.monitor import STATISTICS
from foreshock.series import FrameSpec


class Gauges(NamedTuple):
    """What the instruments say of themselves, at any moment."""

    level: int = 1  # 1: all is measured that can be afforded; 0: what is essential; -1: nothing
    skipped: int = 0  # records that were due and not made, for they would have cost too much
    used: float = math.nan  # percent of the budget, over the last steps; NaN: there is no budget
    memory: int = 0  # bytes, on all devices


_ROW = (
    "foreshock_overhead",
    "foreshock_overhead_background",
    "foreshock_budget_used",
    "foreshock_dropped",
    "foreshock_faults",
    "foreshock_skipped",
    "foreshock_level",
    "foreshock_memory",
)
_KNOWN = {statistic.name: statistic for statistic in STATISTICS}
FRAME = FrameSpec(tuple(replace(_KNOWN[name].series(), dtype="f64") for name in _ROW))


class Monitor:
    """Turns totals into a row; shares are of the time since the row before."""

    def __init__(self) -> None:
        self.wall = self.training = self.background = 0.0  # seconds when the last row was made

    def row(
        self,
        *,
        wall: float,
        training: float,
        background: float,
        dropped: int,
        faults: int,
        gauges: Gauges,
        queued: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
        """The values of FRAME, and which of them are no readings; totals so far in."""
        seconds = wall - self.wall
        share = 100.0 / seconds if seconds > 0 else math.nan
        values = np.array(
            [
                share * (training - self.training),
                share * (background - self.background),
                gauges.used,
                dropped,
                faults,
                gauges.skipped,
                gauges.level,
                gauges.memory + queued,
            ],
            np.float64,
        )
        self.wall, self.training, self.background = wall, training, background
        absent = np.isnan(values)
        return np.nan_to_num(values), absent if absent.any() else None
