"""Readings -> a breach when one leaps out of what the readings before it were like.

Against the median and the scatter (1.4826 MAD) of the last `window` readings, z = (reading - median) / scatter. A reading enters the
window no farther out than three scatters, so that a spike does not widen what it is measured by.

- *breach*: |z| beyond `z` for `consecutive` readings, or beyond `alone` for one; *critical*: beyond `critical`, likewise;
- *clear*: `clear_records` readings in a row within `clear_z`;
- *from step 0*: nothing is said before `min_records` readings. A run that begins wild has a wide scatter and is judged by it; one
  that moves to another level for good is told until the window has followed it, some half a window later.

With two readings beyond 5, +50 % spikes were all found and none cried under heavy-tailed noise, where one reading beyond 5 cried
21 times in 10,000 (tests/server/rules/test_detection.py measures it anew).
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import EveryReading
from foreshock_server.rules.detectors.reading import TO_SIGMA, Reading
from foreshock_server.rules.reduction import Reduction

WINSOR = 3.0  # scatters: the farthest a reading enters the window
FLOOR = 1e-12  # what zero and less count as in a logarithm


class SpikeMemory(NamedTuple):
    """What is remembered between readings."""

    window: tuple[float, ...] = ()  # as they came, held back
    ordered: tuple[float, ...] = ()  # the same by size
    beyond: int = 0  # readings in a row beyond z
    far: int = 0  # and beyond critical
    calm: int = 0  # and within clear_z


class Spike(EveryReading):
    """The parameters of one rule; windows are in readings."""

    kind: Literal["spike"]
    direction: Literal["up", "down", "both"] = Field("up", description="which way a leap is bad")
    z: float = Field(5.0, gt=0, allow_inf_nan=False, description="scatters from the median that are a leap …")
    consecutive: int = Field(2, ge=1, le=100, description="… when so many readings in a row lie beyond")
    alone: float | None = Field(
        12.0, gt=0, allow_inf_nan=False, description="scatters at which one reading is enough; null: none is"
    )
    critical: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="critical when as many readings in a row lie beyond this"
    )
    clear_z: float = Field(3.0, gt=0, allow_inf_nan=False, description="it can resolve only within this …")
    clear_records: int = Field(16, ge=1, le=10_000, description="… after so many readings in a row")
    window: int = Field(128, ge=8, le=256, description="readings it is measured against")
    min_records: int = Field(32, ge=4, le=256, description="readings before anything is said")
    least: float = Field(
        0.01, ge=0, allow_inf_nan=False, description="the scatter is at least this share of the median"
    )
    log: bool = Field(False, description="of the natural logarithm, for positive statistics over many scales")

    @model_validator(mode="after")
    def _levels_agree(self) -> Spike:
        if self.alone is not None and self.alone < self.z:
            raise ValueError(f"`alone: {self.alone:g}` must not be less than `z: {self.z:g}`")
        if self.critical is not None and self.critical < self.z:
            raise ValueError(f"`critical: {self.critical:g}` must not be less than `z: {self.z:g}`")
        if self.clear_z > self.z:
            raise ValueError(f"`clear_z: {self.clear_z:g}` must not exceed `z: {self.z:g}`")
        if self.min_records > self.window:
            raise ValueError(f"`min_records: {self.min_records}` must not exceed `window: {self.window}`")
        return self

    @property
    def worst(self) -> Reduction:
        """The entry on the side where a leap is bad."""
        return "min" if self.direction == "down" else "max"

    def turned(self) -> Spike:
        """A leap the other way."""
        other = {"up": "down", "down": "up", "both": "both"}
        return self.model_copy(update={"direction": other[self.direction]})

    def initial(self) -> SpikeMemory:
        """No reading seen."""
        return SpikeMemory()

    def update(self, memory: SpikeMemory, step: int, value: float) -> tuple[SpikeMemory, Reading]:
        """The memory after one more reading, and what it says. One that is not finite is another rule's news: skipped."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value)
        y = math.log(max(value, FLOOR)) if self.log else value
        if len(memory.ordered) < self.min_records:
            return self._with(memory, y), Reading(None, value=value)
        middle, scatter = self._measure(memory.ordered)
        if not 0 < scatter < math.inf:  # all alike around zero, or too large to tell: there is no measure
            return self._with(memory, y), Reading(None, value=value)
        z = (y - middle) / scatter
        out = z if self.direction == "up" else -z if self.direction == "down" else abs(z)
        beyond = memory.beyond + 1 if out > self.z else 0
        far = memory.far + 1 if self.critical is not None and out > self.critical else 0
        calm = memory.calm + 1 if out <= self.clear_z else 0
        breach = beyond >= self.consecutive or (self.alone is not None and out > self.alone)
        held = min(max(y, middle - WINSOR * scatter), middle + WINSOR * scatter)
        now = self._with(memory, held)._replace(beyond=beyond, far=far, calm=calm)
        sign = -1.0 if self.direction == "down" or (self.direction == "both" and z < 0) else 1.0
        line, near = middle + sign * self.z * scatter, middle + sign * self.clear_z * scatter
        return now, Reading(
            breach,
            breach and far >= self.consecutive,
            calm >= self.clear_records,
            value,
            value,
            threshold=self._shown(line),
            clear_level=self._shown(near),
            note=f"{abs(z):,.3g} scatters from the usual {self._shown(middle):,.3g}" if breach else None,
        )

    def _measure(self, ordered: tuple[float, ...]) -> tuple[float, float]:
        """The median and the scatter of readings by size."""
        middle = _middle(ordered)
        away = sorted([abs(one - middle) for one in ordered])  # falls, then rises: sorted in one pass
        least = self.least if self.log else self.least * abs(middle)
        return middle, max(TO_SIGMA * _middle(away), least)

    def _with(self, memory: SpikeMemory, y: float) -> SpikeMemory:
        ordered = list(memory.ordered)
        window = memory.window
        if len(window) >= self.window:
            ordered.remove(window[0])
            window = window[1:]
        insort(ordered, y)
        return memory._replace(window=(*window, y), ordered=tuple(ordered))

    def _shown(self, level: float) -> float:
        return math.exp(min(level, 700.0)) if self.log else level

    def dump(self, memory: SpikeMemory) -> dict[str, Any]:
        """As JSON; the order by size is made anew."""
        return {
            "of": self.log,
            "window": list(memory.window),
            "beyond": memory.beyond,
            "far": memory.far,
            "calm": memory.calm,
        }

    def load(self, stored: Mapping[str, Any]) -> SpikeMemory:
        """From JSON; readings on another scale are forgotten."""
        if stored.keys() != self.dump(self.initial()).keys() or stored["of"] != self.log:
            return self.initial()
        window = tuple(stored["window"])[-self.window :]
        return SpikeMemory(window, tuple(sorted(window)), stored["beyond"], stored["far"], stored["calm"])


def _middle(ordered: tuple[float, ...] | list[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
