"""Readings -> a breach beyond a fixed level, or beyond a multiple of the run's own baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import LevelMemory, Lines
from foreshock_server.rules.detectors.reading import Quiet, Reading, middle_of
from foreshock_server.rules.detectors.trend import running_middles
from foreshock_server.rules.reduction import Reduction


class Threshold(Lines):
    """Breach: the level is strictly beyond `below` or `above`. A reading that is not finite is another rule's news: skipped."""

    kind: Literal["threshold"]
    below: float | None = Field(None, allow_inf_nan=False, description="breach when lower than this")
    above: float | None = Field(None, allow_inf_nan=False, description="breach when higher than this")
    critical: float | None = Field(
        None, allow_inf_nan=False, description="critical beyond this, on the far side of the breach"
    )
    clear: float | None = Field(
        None, allow_inf_nan=False, description="resolves only on the good side of this; default: of the level"
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> Threshold:
        if (self.below is None) == (self.above is None):
            raise ValueError("write exactly one of `below: LEVEL` and `above: LEVEL`")
        sign = -1 if self.below is not None else 1
        level = self._line
        if self.critical is not None and (self.critical - level) * sign < 0:
            raise ValueError(f"`critical: {self.critical:g}` must lie beyond the level {level:g}")
        if self.clear is not None and (self.clear - level) * sign > 0:
            raise ValueError(f"`clear: {self.clear:g}` must lie on the good side of the level {level:g}")
        return self

    @property
    def worst(self) -> Reduction:
        """The entry nearest to the far side."""
        return "min" if self.above is None else "max"

    @property
    def _line(self) -> float:
        level = self.below if self.below is not None else self.above
        if level is None:
            raise ValueError("write exactly one of `below: LEVEL` and `above: LEVEL`")
        return level

    def update(self, memory: LevelMemory, step: int, value: float) -> tuple[LevelMemory, Reading]:
        """The memory after one more reading, and what it says."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value, baseline=memory.baseline.value)
        now, level, factor = self._level(memory, value)
        baseline = now.baseline.value
        if level is None:
            return now, Reading(None, value=value, baseline=baseline)
        warn = self._line * factor
        critical = None if self.critical is None else self.critical * factor
        clear = warn if self.clear is None else self.clear * factor
        sign = -1.0 if self.below is not None else 1.0
        return now, Reading(
            sign * level > sign * warn,
            critical is not None and sign * level > sign * critical,
            sign * level <= sign * clear,
            value,
            level,
            baseline,
            warn if critical is None else critical,
            None if critical is None else warn,
            clear,
        )

    @property
    def renews(self) -> bool:
        """True where its lines are multiples of a baseline."""
        return self.relative_to_baseline

    def renewed(self, memory: LevelMemory) -> LevelMemory:
        """Measured from what was reached: of what must not fall the highest, of what must not rise the lowest."""
        way = 1 if self.below is not None else -1
        return memory._replace(baseline=memory.baseline.renewed(memory.recent, way))

    def quiet(self, memory: LevelMemory) -> Quiet | None:
        """Those on the good side of the first line."""
        factor = memory.baseline.value if self.relative_to_baseline else 1.0
        if len(memory.recent) < self.median or factor is None or factor <= 0:
            return None
        line = self._line * factor
        low, high = (line, math.inf) if self.below is not None else (-math.inf, line)
        return (
            Quiet.under_median(low, high, memory.recent) if low <= middle_of(memory.recent) <= high else None
        )

    def pass_over(
        self, memory: LevelMemory, steps: Sequence[int], values: NDArray[np.float64]
    ) -> tuple[LevelMemory, Sequence[bool]]:
        """All at once."""
        factor = memory.baseline.value if self.relative_to_baseline else 1.0
        assert factor is not None  # noqa: S101 (`quiet` saw it)
        clear = (self._line if self.clear is None else self.clear) * factor
        level = running_middles(memory.recent, values, self.median)
        good = level >= clear if self.below is not None else level <= clear
        recent = (*memory.recent, *values[-self.median :].tolist())[-self.median :]
        return memory._replace(recent=recent), good.tolist()
