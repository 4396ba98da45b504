"""Readings of a series that names something, such as a task or a stage by its number -> a breach at each that differs from the one before.

- *breach*: it differs by more than `least`; *clear*: it does not;
- *from step 0*: the first reading is compared with nothing, so a run that begins with some number is not told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from foreshock_server.rules.detectors.every import EveryReading
from foreshock_server.rules.detectors.reading import Reading
from foreshock_server.rules.reduction import Reduction


class ChangeMemory(NamedTuple):
    """What is remembered between readings."""

    value: float | None = None  # the last one


class Changed(EveryReading):
    """The parameters of one rule."""

    worst: ClassVar[Reduction | None] = None

    kind: Literal["change"]
    least: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="a difference of no more than this is none"
    )

    def turned(self) -> Changed:
        """A change has no direction."""
        return self

    def initial(self) -> ChangeMemory:
        """No reading seen."""
        return ChangeMemory()

    def update(self, memory: ChangeMemory, step: int, value: float) -> tuple[ChangeMemory, Reading]:
        """The memory after one more reading, and what it says. One that is not finite is another rule's news: skipped."""
        if not math.isfinite(value):
            return memory, Reading(None, value=value)
        before = value if memory.value is None else memory.value
        breach = abs(value - before) > self.least
        return ChangeMemory(value), Reading(
            breach,
            clear=not breach,
            value=value,
            level=value,
            note=f"it was {before:,.4g}" if breach else None,
        )

    def dump(self, memory: ChangeMemory) -> dict[str, Any]:
        """As JSON."""
        return memory._asdict()

    def load(self, stored: Mapping[str, Any]) -> ChangeMemory:
        """From JSON."""
        if stored.keys() != self.dump(self.initial()).keys():
            return self.initial()
        return ChangeMemory(stored["value"])
