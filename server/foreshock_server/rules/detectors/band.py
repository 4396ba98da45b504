"""Readings that must stay between two levels -> a breach outside them."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import LevelMemory, Lines
from foreshock_server.rules.detectors.reading import Reading
from foreshock_server.rules.reduction import Reduction


class Band(Lines):
    """Breach: the level is strictly below `low` or above `high`. A reading that is not finite is another rule's news: skipped.

    From step 0 with levels of its own; relative to a baseline, once that is there (`baseline_records`) and positive.
    """

    kind: Literal["band"]
    low: float = Field(allow_inf_nan=False, description="breach when lower than this")
    high: float = Field(allow_inf_nan=False, description="breach when higher than this")
    critical_low: float | None = Field(None, allow_inf_nan=False, description="critical below this")
    critical_high: float | None = Field(None, allow_inf_nan=False, description="critical above this")
    clear_low: float | None = Field(
        None, allow_inf_nan=False, description="resolves only from this up; default: low"
    )
    clear_high: float | None = Field(
        None, allow_inf_nan=False, description="resolves only from this down; default: high"
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> Band:
        if self.low >= self.high:
            raise ValueError(f"`low: {self.low:g}` must lie below `high: {self.high:g}`")
        if self.critical_low is not None and self.critical_low > self.low:
            raise ValueError(f"`critical_low: {self.critical_low:g}` must not lie above `low: {self.low:g}`")
        if self.critical_high is not None and self.critical_high < self.high:
            raise ValueError(
                f"`critical_high: {self.critical_high:g}` must not lie below `high: {self.high:g}`"
            )
        clear_low, clear_high = self._clear
        if not self.low <= clear_low <= clear_high <= self.high:
            raise ValueError(
                "`clear_low` and `clear_high` must lie within the band, in this order: "
                f"{self.low:g} <= {clear_low:g} <= {clear_high:g} <= {self.high:g} does not hold"
            )
        return self

    @property
    def _clear(self) -> tuple[float, float]:
        return (
            self.low if self.clear_low is None else self.clear_low,
            self.high if self.clear_high is None else self.clear_high,
        )

    @property
    def worst(self) -> Reduction | None:
        """Either side may be the worse one: the first entry that lies outside, or where that depends on the baseline, the middle."""
        return "median" if self.relative_to_baseline else None

    def update(self, memory: LevelMemory, step: int, value: float) -> tuple[LevelMemory, Reading]:
        """The memory after one more reading, and what it says; its levels are those of the side that is nearer."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value, baseline=memory.baseline.value)
        now, level, factor = self._level(memory, value)
        baseline = now.baseline.value
        if level is None:
            return now, Reading(None, value=value, baseline=baseline)
        low, high = self.low * factor, self.high * factor
        clear_low, clear_high = (one * factor for one in self._clear)
        is_low = level < low or (level <= high and level - low < high - level)
        warn, beyond, clear = (
            (low, self.critical_low, clear_low) if is_low else (high, self.critical_high, clear_high)
        )
        critical = None if beyond is None else beyond * factor
        return now, Reading(
            not low <= level <= high,
            critical is not None and (level < critical if is_low else level > critical),
            clear_low <= level <= clear_high,
            value,
            level,
            baseline,
            warn if critical is None else critical,
            None if critical is None else warn,
            clear,
        )

    def news(self, values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Those outside the band, and all of them where that depends on the baseline."""
        if self.relative_to_baseline:
            return super().news(values)
        outside: NDArray[np.bool_] = (values < self.low) | (values > self.high)
        return outside
