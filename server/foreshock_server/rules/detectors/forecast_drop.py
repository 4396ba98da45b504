"""Readings of a positive statistic -> a breach while its trend leads far below the run's own baseline.

All of it happens on ln(value). Consecutive blocks of `block` readings give their medians; over the last `blocks` of them the
Theil-Sen slope β and the level ℓ = median(b - β·t) are robust against spikes and, because of the blocks, against autocorrelation.

- *warning*: the median of the last 9 readings is more than `drop` below the baseline (so it has begun), and the forecast
  ℓ + min(β, 0)·`horizon` lies below `share` of the baseline (so it leads somewhere);
- *critical*: the median of the last 9 readings is below `critical_share` of the baseline, whatever the trend;
- *clear*: for `clear_records` readings neither of the two held, and that median was above `clear_share`.

Where a fall may begin with the first step there is no long window to wait for: `min_blocks` lets the trend begin with fewer
blocks, and `reach` then bounds how far it is followed by how long it was seen to hold. Without that bound 32 readings followed
for 200 cried wolf in six of ten healthy runs (tests/server/rules/test_detection.py measures both).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import EveryReading
from foreshock_server.rules.detectors.reading import Baseline, Forecast, Quiet, Reading, middle_of
from foreshock_server.rules.detectors.trend import middle_of_array, running_middles
from foreshock_server.rules.reduction import Reduction

FLOOR = 1e-12  # what zero and less count as: a rank of an all-zero matrix reads 0.0, and ln must not stop the rule
SHOWN_BELOW = 0.7  # of the baseline: nearer to it, the time to the target was off by a factor of two and more
OPTIMISM = 0.5  # the time that is left was overstated by up to a factor of two: the range begins here
FARTHEST = 5.0  # horizons; a target farther away than this is not worth a number


class Trend(NamedTuple):
    """Theil-Sen over the last completed blocks."""

    level: float  # ln, at the end of the last block
    slope: float  # ln per reading
    ahead: float  # ln, where it leads: a rise is not followed


class ForecastMemory(NamedTuple):
    """What is remembered between readings: some twenty numbers."""

    baseline: Baseline = Baseline()
    block: tuple[float, ...] = ()  # ln of the readings of the block in course
    medians: tuple[float, ...] = ()  # of the completed blocks
    trend: Trend | None = None
    recent: tuple[float, ...] = ()  # the last readings, as they came
    steps: tuple[int, ...] = ()  # and their steps
    calm: int = 0  # readings since it was last in breach or below the clear level


class ForecastDrop(EveryReading):
    """The parameters of one rule; all windows are in readings, whatever the steps between them."""

    worst: ClassVar[Reduction | None] = "min"

    kind: Literal["forecast-drop"]
    block: int = Field(8, ge=2, le=100, description="readings in a block")
    blocks: int = Field(16, ge=4, le=64, description="blocks under the trend")
    min_blocks: int | None = Field(
        None,
        ge=4,
        le=64,
        description="blocks after which there is a trend, before the window is full; default: blocks",
    )
    horizon: int = Field(200, ge=1, le=100_000, description="how far the trend is followed, in readings")
    reach: float | None = Field(
        None, gt=0, le=10, description="but no farther than this many times the readings under the trend"
    )
    share: float = Field(
        0.4, gt=0, lt=1, description="warn when the forecast is below this share of the baseline"
    )
    drop: float = Field(0.15, gt=0, lt=5, description="and the level is already this much below it, in ln")
    critical_share: float = Field(0.25, gt=0, lt=1, description="critical below this share of the baseline")
    clear_share: float = Field(0.6, gt=0, lt=1, description="clear only above this share …")
    clear_records: int = Field(32, ge=1, le=10_000, description="… for this many readings without a breach")
    median: int = Field(9, ge=1, le=101, description="the level is the median of this many readings")
    baseline_records: int = Field(200, ge=1, le=2000, description="readings that make the baseline")
    baseline: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="the baseline, where it is known beforehand"
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> ForecastDrop:
        if self.min_blocks is not None and self.min_blocks > self.blocks:
            raise ValueError(f"`min_blocks: {self.min_blocks}` must not exceed `blocks: {self.blocks}`")
        if self.clear_share <= self.critical_share:
            raise ValueError(
                f"`clear_share: {self.clear_share:g}` must lie above `critical_share: {self.critical_share:g}`"
            )
        return self

    def initial(self) -> ForecastMemory:
        """No reading seen."""
        return ForecastMemory(Baseline(self.baseline))

    def update(self, memory: ForecastMemory, step: int, value: float) -> tuple[ForecastMemory, Reading]:
        """The memory after one more reading, and what it says. One that is not finite is another rule's news: skipped."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value, baseline=memory.baseline.value)
        baseline = memory.baseline.after(value, self.baseline_records)
        block = (*memory.block, math.log(max(value, FLOOR)))
        medians, trend = memory.medians, memory.trend
        if len(block) >= self.block:
            medians = (*medians, middle_of(block))[-self.blocks :]
            block = ()
            if len(medians) >= (self.min_blocks or self.blocks):
                trend = self._trend(medians)
        recent = (*memory.recent, value)[-self.median :]
        steps = (*memory.steps, step)[-self.median :]
        if baseline.value is None or baseline.value <= 0 or len(recent) < self.median:
            now = ForecastMemory(baseline, block, medians, trend, recent, steps)
            return now, Reading(None, value=value, baseline=baseline.value)
        base = baseline.value
        level = middle_of(recent)
        leads_down = trend is not None and trend.ahead < math.log(self.share * base)
        critical = level < self.critical_share * base
        breach = critical or (leads_down and level < base * math.exp(-self.drop))
        calm = 0 if breach or level <= self.clear_share * base else memory.calm + 1
        return ForecastMemory(baseline, block, medians, trend, recent, steps, calm), Reading(
            breach,
            critical,
            calm >= self.clear_records,
            value,
            level,
            base,
            self.critical_share * base,
            base * math.exp(-self.drop),
            self.clear_share * base,
            None if trend is None else self._forecast(trend, len(medians), base, level, steps),
        )

    def quiet(self, memory: ForecastMemory) -> Quiet | None:
        """Those above the line from where on a trend counts, and above the critical one."""
        base = memory.baseline.value
        if base is None or base <= 0 or len(memory.recent) < self.median:
            return None
        line = max(base * math.exp(-self.drop), self.critical_share * base)
        return Quiet.under_median(line, math.inf, memory.recent) if middle_of(memory.recent) >= line else None

    def pass_over(
        self, memory: ForecastMemory, steps: Sequence[int], values: NDArray[np.float64]
    ) -> tuple[ForecastMemory, Sequence[bool]]:
        """All at once; of the trends only the last is needed."""
        base = memory.baseline.value
        assert base is not None  # noqa: S101 (`quiet` saw it)
        clear, calm = [], memory.calm
        for level in running_middles(memory.recent, values, self.median).tolist():
            calm = 0 if level <= self.clear_share * base else calm + 1
            clear.append(calm >= self.clear_records)
        logs = [*memory.block, *(math.log(max(value, FLOOR)) for value in values.tolist())]
        whole = len(logs) - len(logs) % self.block
        middles = [middle_of(logs[start : start + self.block]) for start in range(0, whole, self.block)]
        medians, trend = (*memory.medians, *middles)[-self.blocks :], memory.trend
        if middles and len(medians) >= (self.min_blocks or self.blocks):
            trend = self._trend(medians)
        recent = (*memory.recent, *values[-self.median :].tolist())[-self.median :]
        latest = (*memory.steps, *steps[-self.median :])[-self.median :]
        return ForecastMemory(
            memory.baseline, tuple(logs[whole:]), medians, trend, recent, latest, calm
        ), clear

    def _trend(self, medians: tuple[float, ...]) -> Trend:
        level, slope = _theil_sen(medians, self.block)
        return Trend(level, slope, level + min(slope, 0.0) * self._reach(len(medians)))

    def _reach(self, blocks: int) -> float:
        """How many readings a trend over so many blocks is followed."""
        return self.horizon if self.reach is None else min(self.horizon, self.reach * blocks * self.block)

    def _forecast(
        self, trend: Trend, blocks: int, base: float, level: float, steps: tuple[int, ...]
    ) -> Forecast | None:
        """When the next line is reached: the warning's target share, and below that the critical one."""
        if trend.slope >= 0 or level >= SHOWN_BELOW * base:
            return None
        targets = sorted({self.share, self.critical_share}, reverse=True)
        target = next((share for share in targets if level > share * base), None)
        if target is None:
            return None
        records = (trend.level - math.log(target * base)) / -trend.slope
        if not 0 < records <= FARTHEST * self.horizon:
            return None
        pace = _steps_per_reading(steps)
        return Forecast(
            max(1, round(OPTIMISM * records * pace)),
            max(1, round(records * pace)),
            target * base,
            target,
            math.exp(min(trend.ahead - math.log(base), 700.0)),
            round(self._reach(blocks) * pace),
        )

    def dump(self, memory: ForecastMemory) -> dict[str, Any]:
        """As JSON."""
        return {
            "baseline": memory.baseline.value,
            "gathered": list(memory.baseline.gathered),
            "block_length": self.block,
            "block": list(memory.block),
            "medians": list(memory.medians),
            "trend": None if memory.trend is None else list(memory.trend),
            "recent": list(memory.recent),
            "steps": list(memory.steps),
            "calm": memory.calm,
        }

    def load(self, stored: Mapping[str, Any]) -> ForecastMemory:
        """From JSON. After a change of the block length only what does not depend on it is kept."""
        if stored.keys() != self.dump(self.initial()).keys():
            return self.initial()
        same = stored["block_length"] == self.block
        return ForecastMemory(
            Baseline(self.baseline or stored["baseline"], tuple(stored["gathered"])),
            tuple(stored["block"]) if same else (),
            tuple(stored["medians"])[-self.blocks :] if same else (),
            Trend(*stored["trend"]) if same and stored["trend"] else None,
            tuple(stored["recent"])[-self.median :],
            tuple(stored["steps"])[-self.median :],
            stored["calm"],
        )


@lru_cache(maxsize=64)
def _pairs(
    blocks: int, block: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """All pairs of blocks, the readings between them, and the readings from each block to the last."""
    i, j = np.triu_indices(blocks, 1)
    apart = np.asarray((j - i) * block, np.float64)
    return i, j, apart, np.arange(1 - blocks, 1, dtype=np.float64) * block


def _theil_sen(medians: tuple[float, ...], block: int) -> tuple[float, float]:
    """The level at the last block, and the slope per reading: the median of the slopes of all pairs."""
    b = np.array(medians)
    i, j, apart, before = _pairs(len(medians), block)
    slope = middle_of_array((b[j] - b[i]) / apart)
    return middle_of_array(b - slope * before), slope


def _steps_per_reading(steps: tuple[int, ...]) -> float:
    forward = [later - earlier for earlier, later in pairwise(steps) if later > earlier]
    return float(middle_of(forward)) if forward else 1.0
