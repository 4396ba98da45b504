"""Readings -> a breach while their robust trend is steeper than so much per 100 steps.

Consecutive blocks of `block` readings give their medians, in value and in step; over the last `blocks` of them the slope is that of
Theil and Sen: the median of the slopes of all pairs. One outlier moves neither, and because of the blocks neither does autocorrelation.

- *breach*: the slope lies beyond `below` or `above`, and at least the share `agreement` of all pairs go that way at all, so that
  a single step up or down in a level series is no trend;
- *from step 0*: nothing is said before `min_blocks` blocks are full; a fall or rise that is under way with the first reading is
  seen then, as no baseline is needed. A statistic that settles after the start has a trend too: choose a level that settling does
  not reach, or wait with `warmup_steps`.

A resume that takes the step back takes back the blocks that lie after it: they are no part of the run any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import EveryReading
from foreshock_server.rules.detectors.reading import Reading, middle_of
from foreshock_server.rules.detectors.trend import middle_of_array, slopes_between
from foreshock_server.rules.reduction import Reduction

FLOOR = 1e-12  # what zero and less count as in a logarithm
PER = 100.0  # steps


class Line(NamedTuple):
    """The trend over the last completed blocks."""

    slope: float  # per 100 steps; of the logarithm, where the rule takes it
    agreement: float  # share of the pairs that go the way of the rule


class SlopeMemory(NamedTuple):
    """What is remembered between readings."""

    block: tuple[float, ...] = ()  # the readings of the block in course, as they are compared
    steps: tuple[int, ...] = ()  # and their steps
    medians: tuple[float, ...] = ()  # of the completed blocks
    at: tuple[float, ...] = ()  # the steps that these stand for
    line: Line | None = None
    last_step: int | None = None


class Slope(EveryReading):
    """The parameters of one rule; windows are in readings, slopes per 100 steps."""

    kind: Literal["slope"]
    below: float | None = Field(
        None, allow_inf_nan=False, description="breach when it rises by less than this per 100 steps"
    )
    above: float | None = Field(
        None, allow_inf_nan=False, description="breach when it rises by more than this per 100 steps"
    )
    critical: float | None = Field(
        None, allow_inf_nan=False, description="critical beyond this slope, on the far side of the breach"
    )
    clear: float | None = Field(
        None,
        allow_inf_nan=False,
        description="resolves only on the good side of this slope; default: the level",
    )
    log: bool = Field(
        False,
        description="of the natural logarithm, for positive statistics: -0.1 is a loss of about a tenth in 100 steps",
    )
    agreement: float = Field(
        0.75, ge=0.5, le=1, description="share of all pairs of blocks that must go the same way"
    )
    block: int = Field(8, ge=1, le=100, description="readings in a block")
    blocks: int = Field(16, ge=4, le=64, description="blocks under the trend")
    min_blocks: int | None = Field(
        None,
        ge=4,
        le=64,
        description="blocks after which there is a trend, before the window is full; default: blocks",
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> Slope:
        if (self.below is None) == (self.above is None):
            raise ValueError("write exactly one of `below: SLOPE` and `above: SLOPE`")
        level, sign = self._level, self._sign
        if self.critical is not None and (self.critical - level) * sign < 0:
            raise ValueError(f"`critical: {self.critical:g}` must lie beyond the level {level:g}")
        if self.clear is not None and (self.clear - level) * sign > 0:
            raise ValueError(f"`clear: {self.clear:g}` must lie on the good side of the level {level:g}")
        if self.min_blocks is not None and self.min_blocks > self.blocks:
            raise ValueError(f"`min_blocks: {self.min_blocks}` must not exceed `blocks: {self.blocks}`")
        return self

    @property
    def _level(self) -> float:
        return (self.above if self.below is None else self.below) or 0.0

    @property
    def _sign(self) -> float:
        return 1.0 if self.below is None else -1.0

    @property
    def worst(self) -> Reduction:
        """The entry nearest to where the trend leads."""
        return "min" if self.above is None else "max"

    def turned(self) -> Slope:
        """Steep the other way."""
        return self.model_copy(
            update={
                "below": None if self.above is None else -self.above,
                "above": None if self.below is None else -self.below,
                "critical": None if self.critical is None else -self.critical,
                "clear": None if self.clear is None else -self.clear,
            }
        )

    def initial(self) -> SlopeMemory:
        """No reading seen."""
        return SlopeMemory()

    def update(self, memory: SlopeMemory, step: int, value: float) -> tuple[SlopeMemory, Reading]:
        """The memory after one more reading, and what it says. One that is not finite is another rule's news: skipped."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value)
        if memory.last_step is not None and step < memory.last_step:
            memory = _before(memory, step)
        block = (*memory.block, math.log(max(value, FLOOR)) if self.log else value)
        steps = (*memory.steps, step)
        medians, at, line = memory.medians, memory.at, memory.line
        if len(block) >= self.block:
            medians = (*medians, middle_of(block))[-self.blocks :]
            at = (*at, float(middle_of(steps)))[-self.blocks :]
            block, steps = (), ()
            line = self._line(at, medians)
        now = SlopeMemory(block, steps, medians, at, line, step)
        return now, Reading(None, value=value) if line is None else self._said(value, line, medians[-1])

    def _line(self, at: tuple[float, ...], medians: tuple[float, ...]) -> Line | None:
        """None: too few blocks, or the steps do not advance."""
        if len(medians) < (self.min_blocks or self.blocks):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            slopes = slopes_between(np.array(at), np.array(medians)) * PER
            if not len(slopes):
                return None
            slope = middle_of_array(slopes)
        return Line(slope, float(np.mean(slopes * self._sign > 0))) if math.isfinite(slope) else None

    def _said(self, value: float, line: Line, level: float) -> Reading:
        sign, slope = self._sign, line.slope * self._sign
        agreed = line.agreement >= self.agreement or self._level * sign < 0
        breach = agreed and slope > self._level * sign
        clear = self._level if self.clear is None else self.clear
        return Reading(
            breach,
            breach and self.critical is not None and slope > self.critical * sign,
            not breach and slope <= clear * sign,
            value,
            math.exp(min(level, 700.0)) if self.log else level,
            note=self._pace(line.slope) if breach else None,
        )

    def _pace(self, slope: float) -> str:
        """Such as `falling by 12 % per 100 steps`."""
        way = "rising" if slope >= 0 else "falling"
        if not self.log:
            return f"{way} by {abs(slope):,.3g} per 100 steps"
        return f"{way} by {abs(math.expm1(min(slope, 50.0))) * 100:,.3g} % per 100 steps"

    def dump(self, memory: SlopeMemory) -> dict[str, Any]:
        """As JSON."""
        return {
            "of": [self.block, self.log],
            "block": list(memory.block),
            "steps": list(memory.steps),
            "medians": list(memory.medians),
            "at": list(memory.at),
            "line": None if memory.line is None else list(memory.line),
            "last_step": memory.last_step,
        }

    def load(self, stored: Mapping[str, Any]) -> SlopeMemory:
        """From JSON; blocks of another length or scale are forgotten."""
        if stored.keys() != self.dump(self.initial()).keys() or stored["of"] != [self.block, self.log]:
            return self.initial()
        return SlopeMemory(
            tuple(stored["block"]),
            tuple(stored["steps"]),
            tuple(stored["medians"])[-self.blocks :],
            tuple(stored["at"])[-self.blocks :],
            Line(*stored["line"]) if stored["line"] else None,
            stored["last_step"],
        )


def _before(memory: SlopeMemory, step: int) -> SlopeMemory:
    """Without what lies at this step or after it."""
    kept = sum(one < step for one in memory.at)
    stay = [i for i, one in enumerate(memory.steps) if one < step]
    return SlopeMemory(
        tuple(memory.block[i] for i in stay),
        tuple(memory.steps[i] for i in stay),
        memory.medians[:kept],
        memory.at[:kept],
        memory.line if kept == len(memory.at) else None,
        step,
    )
