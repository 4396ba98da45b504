"""Readings -> a breach beyond a fixed level, or beyond a multiple of the run's own baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock_server.rules.detectors.reading import Baseline, Reading


class ThresholdMemory(NamedTuple):
    """What is remembered between readings."""

    baseline: Baseline = Baseline()
    recent: tuple[float, ...] = ()  # the window of the running median


class Threshold(BaseModel):
    """Breach: the level is strictly beyond `below` or `above`. A reading that is not finite is another rule's news: skipped."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    skips: ClassVar[bool] = False

    kind: Literal["threshold"]
    below: float | None = Field(None, allow_inf_nan=False, description="breach when lower than this")
    above: float | None = Field(None, allow_inf_nan=False, description="breach when higher than this")
    critical: float | None = Field(
        None, allow_inf_nan=False, description="critical beyond this, on the far side of the breach"
    )
    clear: float | None = Field(
        None, allow_inf_nan=False, description="resolves only on the good side of this; default: of the level"
    )
    median: int = Field(1, ge=1, le=101, description="the level is the median of this many readings")
    relative_to_baseline: bool = Field(
        False,
        description="the levels are multiples of the baseline: the median of the first readings, frozen",
    )
    baseline_records: int = Field(10, ge=1, le=2000, description="readings that make the baseline")
    baseline: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="the baseline, where it is known beforehand"
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> Threshold:
        if (self.below is None) == (self.above is None):
            raise ValueError("write exactly one of `below: LEVEL` and `above: LEVEL`")
        sign = -1 if self.below is not None else 1
        level = self._level
        if self.critical is not None and (self.critical - level) * sign < 0:
            raise ValueError(f"`critical: {self.critical:g}` must lie beyond the level {level:g}")
        if self.clear is not None and (self.clear - level) * sign > 0:
            raise ValueError(f"`clear: {self.clear:g}` must lie on the good side of the level {level:g}")
        if self.baseline is not None and not self.relative_to_baseline:
            raise ValueError("`baseline` is only used with `relative_to_baseline: true`")
        return self

    @property
    def _level(self) -> float:
        level = self.below if self.below is not None else self.above
        if level is None:
            raise ValueError("write exactly one of `below: LEVEL` and `above: LEVEL`")
        return level

    def initial(self) -> ThresholdMemory:
        """No reading seen."""
        return ThresholdMemory(Baseline(self.baseline))

    def update(self, memory: ThresholdMemory, step: int, value: float) -> tuple[ThresholdMemory, Reading]:
        """The memory after one more reading, and what it says."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value, baseline=memory.baseline.value)
        baseline = memory.baseline
        if self.relative_to_baseline:
            baseline = baseline.after(value, self.baseline_records)
        recent = (*memory.recent, value)[-self.median :]
        now = ThresholdMemory(baseline, recent)
        factor = baseline.value if self.relative_to_baseline else 1.0
        if len(recent) < self.median or factor is None or factor <= 0:
            return now, Reading(None, value=value, baseline=baseline.value)
        level = value if self.median == 1 else median(recent)
        warn = self._level * factor
        critical = None if self.critical is None else self.critical * factor
        clear = warn if self.clear is None else self.clear * factor
        sign = -1.0 if self.below is not None else 1.0
        return now, Reading(
            sign * level > sign * warn,
            critical is not None and sign * level > sign * critical,
            sign * level <= sign * clear,
            value,
            level,
            baseline.value,
            warn if critical is None else critical,
            None if critical is None else warn,
            clear,
        )

    def skim(self, memory: ThresholdMemory, values: NDArray[np.floating[Any]]) -> int:
        """Every reading counts: of the median, of the baseline."""
        return 0

    def dump(self, memory: ThresholdMemory) -> dict[str, Any]:
        """As JSON."""
        return {
            "baseline": memory.baseline.value,
            "gathered": list(memory.baseline.gathered),
            "recent": list(memory.recent),
        }

    def load(self, stored: Mapping[str, Any]) -> ThresholdMemory:
        """From JSON."""
        if stored.keys() != self.dump(self.initial()).keys():
            return self.initial()
        return ThresholdMemory(
            Baseline(self.baseline or stored["baseline"], tuple(stored["gathered"])),
            tuple(stored["recent"])[-self.median :],
        )
