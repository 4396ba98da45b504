"""What a detector says about one reading, the baseline that relative levels are measured against, and the detector's shape. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median, median_low
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class Forecast(NamedTuple):
    """Where the level is heading if the pace of the last window goes on."""

    low_steps: int  # the target is reached between low_steps …
    high_steps: int  # … and high_steps after this reading
    level_target: float  # in the unit of the series
    target_share: float  # the same as a share of the baseline
    predicted_share: float  # the share of the baseline that is left after horizon_steps
    horizon_steps: int


class Reading(NamedTuple):
    """The verdict on one reading, with the very levels that it was compared with: they are what a chart draws."""

    breach: bool | None  # None: cannot tell (no baseline yet, a window not full, not a number)
    critical: bool = False
    clear: bool = False
    value: float = math.nan  # as it came
    level: float | None = None  # what was compared: the running median, where the detector has one
    baseline: float | None = None
    threshold: float | None = None  # beyond it, it is critical; where there is one line, that line
    warn_level: float | None = None  # the earlier line, where there are two
    clear_level: float | None = None  # it can only resolve on the good side of this line
    forecast: Forecast | None = None


class Baseline(NamedTuple):
    """Median of the first finite readings, frozen. It never adapts: an adaptive baseline follows the collapse."""

    value: float | None = None
    gathered: tuple[float, ...] = ()  # only until the value is known

    def after(self, value: float, records: int) -> Baseline:
        """The baseline after one more finite reading."""
        if self.value is not None:
            return self
        gathered = (*self.gathered, value)
        if len(gathered) < records:
            return Baseline(None, gathered)
        middle = median(gathered)
        return Baseline(
            middle if math.isfinite(middle) else median_low(gathered)
        )  # the mean of two may overflow


M = TypeVar("M")


class Detector(Protocol[M]):
    """Readings in the order of their steps -> verdicts. All it remembers is in its memory, which is small and immutable."""

    skips: ClassVar[bool]  # True where `skim` is worth a call

    def initial(self) -> M:
        """The memory before the first reading."""

    def update(self, memory: M, step: int, value: float) -> tuple[M, Reading]:
        """The memory after one more reading, and what it says."""

    def skim(self, memory: M, values: NDArray[np.floating[Any]]) -> int:
        """How many of these readings, from the first on, need no update while nothing is wrong."""

    def dump(self, memory: M) -> dict[str, Any]:
        """The memory as JSON: lists and finite numbers."""

    def load(self, stored: Mapping[str, Any]) -> M:
        """The memory that `dump` wrote; one that does not fit, as after a change of the rule, begins anew."""
