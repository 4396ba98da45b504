"""Readings that should get better -> a breach when their level has not for so many of them.

The level is the running median of `median` readings. It has improved when it is better than the mark by `least`; then it becomes the
mark. So slow but steady progress is no plateau, and noise around a level is no progress.

- *breach*: no improvement for `records` readings; *critical*: for `critical_records`; *clear*: it improved, or there is nothing left
  to gain (`enough`): a loss that has come down to where it can go, or an accuracy that is reached, has ended and is not stuck;
- *from step 0*: the first full median is the first mark, so a run that never moves is told after `median + records` readings.

A level that gets worse is no improvement either: after `records` readings without a new best the rule speaks as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from foreshock_server.rules.detectors.every import EveryReading
from foreshock_server.rules.detectors.reading import Reading, middle_of
from foreshock_server.rules.reduction import Reduction


class PlateauMemory(NamedTuple):
    """What is remembered between readings."""

    recent: tuple[float, ...] = ()  # the window of the running median
    mark: float | None = None  # the level when it last improved
    since: int = 0  # readings since then


class Plateau(EveryReading):
    """The parameters of one rule; windows are in readings, whatever the steps between them."""

    kind: Literal["plateau"]
    improves: Literal["down", "up", "either"] = Field(
        description="which way is better; either: any movement will do, as of a statistic that must not stand still"
    )
    least: float = Field(
        0.01, ge=0, allow_inf_nan=False, description="the smallest improvement that counts, see `relative`"
    )
    relative: bool = Field(
        True, description="`least` is a share of the level, else in the unit of the series"
    )
    records: int = Field(
        200, ge=2, le=10**6, description="readings without an improvement that make a breach"
    )
    critical_records: int | None = Field(
        None, ge=2, le=10**7, description="readings without an improvement that make it critical"
    )
    enough: float | None = Field(
        None, allow_inf_nan=False, description="a level at least as good as this needs no improvement"
    )
    median: int = Field(9, ge=1, le=101, description="the level is the median of this many readings")

    @model_validator(mode="after")
    def _parameters_agree(self) -> Plateau:
        if self.critical_records is not None and self.critical_records < self.records:
            raise ValueError(
                f"`critical_records: {self.critical_records}` must not be less than `records: {self.records}`"
            )
        if self.enough is not None and self.improves == "either":
            raise ValueError(
                "`enough` needs a direction: write `improves: down` or `improves: up`, or leave it out"
            )
        return self

    @property
    def worst(self) -> Reduction:
        """The entry that is farthest from improving."""
        return "min" if self.improves == "up" else "max"

    def turned(self) -> Plateau | None:
        """Better the other way; None where a level is named that is good enough."""
        other = {"down": "up", "up": "down", "either": "either"}
        return None if self.enough is not None else self.model_copy(update={"improves": other[self.improves]})

    def initial(self) -> PlateauMemory:
        """No reading seen."""
        return PlateauMemory()

    def update(self, memory: PlateauMemory, step: int, value: float) -> tuple[PlateauMemory, Reading]:
        """The memory after one more reading, and what it says. One that is not finite is another rule's news: skipped."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value)
        recent = (*memory.recent, value)[-self.median :]
        if len(recent) < self.median:
            return PlateauMemory(recent), Reading(None, value=value)
        level = middle_of(recent)
        if not math.isfinite(level):  # the mean of two huge numbers
            return PlateauMemory(recent, memory.mark, memory.since), Reading(None, value=value)
        if memory.mark is None or self._is_better(level, memory.mark):
            now = PlateauMemory(recent, level, 0)
        else:
            now = PlateauMemory(recent, memory.mark, memory.since + 1)
        breach = now.since >= self.records and not self._is_enough(level)
        return now, Reading(
            breach,
            breach and self.critical_records is not None and now.since >= self.critical_records,
            not breach,
            value,
            level,
            note=f"no better than {now.mark:,.3g} for {now.since:,} readings" if breach else None,
        )

    def _is_better(self, level: float, mark: float) -> bool:
        least = self.least * abs(mark) if self.relative else self.least
        if self.improves == "either":
            return abs(level - mark) > least
        return (mark - level if self.improves == "down" else level - mark) > least

    def _is_enough(self, level: float) -> bool:
        if self.enough is None:
            return False
        return level <= self.enough if self.improves == "down" else level >= self.enough

    def dump(self, memory: PlateauMemory) -> dict[str, Any]:
        """As JSON."""
        return {"recent": list(memory.recent), "mark": memory.mark, "since": memory.since}

    def load(self, stored: Mapping[str, Any]) -> PlateauMemory:
        """From JSON."""
        if stored.keys() != self.dump(self.initial()).keys():
            return self.initial()
        return PlateauMemory(tuple(stored["recent"])[-self.median :], stored["mark"], stored["since"])
