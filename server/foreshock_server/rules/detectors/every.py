"""What detectors share for which every reading counts, and those of them that compare a level with lines. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock_server.rules.detectors.reading import Baseline, Patient, middle_of


class EveryReading(Patient, BaseModel):
    """Nothing can be skipped: of a median, of a window, of a baseline each reading is a part."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    skips: ClassVar[bool] = False

    def turned(self) -> EveryReading | None:
        """The same for a statistic that is meant to go the other way; None: there is no such thing."""
        return None

    def skim(self, memory: Any, values: NDArray[np.floating[Any]]) -> int:
        """Every reading counts."""
        return 0

    def news(self, values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(values.shape, np.bool_)


class LevelMemory(NamedTuple):
    """What is remembered between readings."""

    baseline: Baseline = Baseline()
    recent: tuple[float, ...] = ()  # the window of the running median


class Lines(EveryReading):
    """Compares the running median with lines, which may be multiples of the run's baseline."""

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
    def _baseline_is_used(self) -> Lines:
        if self.baseline is not None and not self.relative_to_baseline:
            raise ValueError("`baseline` is only used with `relative_to_baseline: true`")
        return self

    def initial(self) -> LevelMemory:
        """No reading seen."""
        return LevelMemory(Baseline(self.baseline))

    def _level(self, memory: LevelMemory, value: float) -> tuple[LevelMemory, float | None, float]:
        """The memory after one more finite reading, its level, and what a line is to be multiplied by; no level: it cannot tell."""
        baseline = memory.baseline
        if self.relative_to_baseline:
            baseline = baseline.after(value, self.baseline_records)
        recent = (*memory.recent, value)[-self.median :]
        now = LevelMemory(baseline, recent)
        factor = baseline.value if self.relative_to_baseline else 1.0
        if len(recent) < self.median or factor is None or factor <= 0:
            return now, None, math.nan
        return now, value if self.median == 1 else middle_of(recent), factor

    def dump(self, memory: LevelMemory) -> dict[str, Any]:
        """As JSON."""
        return {
            "baseline": memory.baseline.value,
            "gathered": list(memory.baseline.gathered),
            "recent": list(memory.recent),
        }

    def load(self, stored: Mapping[str, Any]) -> LevelMemory:
        """From JSON. Of another kind that compares levels, the baseline stays."""
        if stored.keys() != self.dump(self.initial()).keys():
            return self.initial()
        return LevelMemory(
            Baseline(self.baseline or stored["baseline"], tuple(stored["gathered"])),
            tuple(stored["recent"])[-self.median :],
        )
