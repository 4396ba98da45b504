"""What a detector says about one reading, the baseline that relative levels are measured against, and the detector's shape. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from foreshock_server.rules.reduction import Reduction

TO_SIGMA = 1.4826  # MAD of a normal distribution -> its standard deviation


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
    entry: str | None = None  # of a vector: which of its entries this is, such as `head 7`
    note: str | None = (
        None  # of a breach: what its sentence says after the amount, where the levels do not say it
    )


RECENT = 3  # readings that tell what was reached when a new task begins


class Quiet(NamedTuple):
    """Readings from `low` to `high` change nothing that is seen while, with them, at most `most` of the last `window` lie outside."""

    low: float
    high: float
    window: int
    most: int
    recent: tuple[float, ...]  # the last of them until now, at most a window

    @property
    def is_beyond(self) -> bool:
        """True when too many lie outside as it is: the mean of two middle ones may lie inside all the same."""
        return sum(not self.low <= one <= self.high for one in self.recent) > self.most

    @classmethod
    def under_median(cls, low: float, high: float, recent: tuple[float, ...]) -> Quiet:
        """Where the median of as many as `recent` is what is compared with these lines, and lies between them now."""
        return cls(low, high, len(recent), (len(recent) - 1) // 2, recent)


def middle_of(values: Sequence[float]) -> float:
    """statistics.median, in half of its time: this runs for every reading."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


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
        middle = middle_of(gathered)
        return Baseline(
            middle if math.isfinite(middle) else median_low(gathered)
        )  # the mean of two may overflow

    def renewed(self, recent: Sequence[float], way: int) -> Baseline:
        """What was reached by now, the median of the last readings, where that asks for more: higher (way 1), or lower (-1)."""
        if not recent:
            return self
        reached = middle_of(recent[-RECENT:])
        if not math.isfinite(reached) or (self.value is not None and way * (reached - self.value) <= 0):
            return self
        return Baseline(reached)


M = TypeVar("M")


class Patient:
    """A detector that has a verdict on every reading, or says below which ones it needs none."""

    @property
    def renews(self) -> bool:
        """True where it measures from a baseline that a new task may renew."""
        return False

    def renewed(self, memory: Any) -> Any:
        """It measures from nothing that a new task renews."""
        return memory

    def quiet(self, memory: Any) -> Quiet | None:
        """Each reading may bring a breach."""
        return None

    def pass_over(
        self, memory: Any, steps: Sequence[int], values: NDArray[np.float64]
    ) -> tuple[Any, Sequence[bool]]:
        """One by one."""
        clear = []
        for step, value in zip(steps, values.tolist(), strict=True):
            memory, reading = self.update(memory, step, value)
            clear.append(reading.clear)
        return memory, clear

    def update(self, memory: Any, step: int, value: float) -> tuple[Any, Reading]:
        """As `Detector` says."""
        raise NotImplementedError


class Detector(Protocol[M]):
    """Readings in the order of their steps -> verdicts. All it remembers is in its memory, which is small and immutable."""

    skips: ClassVar[bool]  # True where most readings change nothing: then `skim` and `news` are worth a call

    @property
    def worst(self) -> Reduction | None:
        """Which number of a vector it compares unless the rule says so; None: the first entry that is news, else the first."""

    def turned(self) -> Detector[M] | None:
        """The same for a statistic that is meant to go the other way; None: there is no such thing."""

    def initial(self) -> M:
        """The memory before the first reading."""

    def update(self, memory: M, step: int, value: float) -> tuple[M, Reading]:
        """The memory after one more reading, and what it says."""

    def skim(self, memory: M, values: NDArray[np.floating[Any]]) -> int:
        """How many of these readings, from the first on, need no update while nothing is wrong."""

    def news(self, values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Of each of these readings, of any shape, whether it needs an update even while nothing is wrong or remembered."""

    def quiet(self, memory: M) -> Quiet | None:
        """Which readings need no verdict now, while the machine is ok; None: each may bring a breach."""

    def pass_over(
        self, memory: M, steps: Sequence[int], values: NDArray[np.float64]
    ) -> tuple[M, Sequence[bool]]:
        """The memory after such readings, and of each whether it was clear: what `update` would have said one by one."""

    def renewed(self, memory: M) -> M:
        """The memory when a new task begins: measured from what was reached by then, where that asks for more."""

    def dump(self, memory: M) -> dict[str, Any]:
        """The memory as JSON: lists and finite numbers."""

    def load(self, stored: Mapping[str, Any]) -> M:
        """The memory that `dump` wrote; one that does not fit, as after a change of the rule, begins anew."""
