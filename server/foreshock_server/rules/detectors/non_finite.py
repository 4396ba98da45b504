"""Readings -> a breach when NaN or an infinity comes, or when a series that counts them is above zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock_server.rules.detectors.reading import Patient, Reading
from foreshock_server.rules.reduction import Reduction


class NonFiniteMemory(NamedTuple):
    """What is remembered between readings."""

    record: int = 0  # readings since there was something to remember
    bad: tuple[int, ...] = ()  # the records that were bad, within the window
    good: int = 0  # good readings since the last bad one


class NonFinite(Patient, BaseModel):
    """Breach: `at_least` of the last `of` readings were bad. Clear: the last `clear_after` readings were good."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    skips: ClassVar[bool] = True
    worst: ClassVar[Reduction | None] = None  # every entry is looked at

    kind: Literal["non-finite"]
    counts: bool = Field(
        False, description="the series counts non-finite numbers: above zero is bad, whatever the size"
    )
    at_least: int = Field(1, ge=1, le=1000, description="bad readings that make a breach …")
    of: int = Field(1, ge=1, le=1000, description="… among this many consecutive ones")
    clear_after: int = Field(50, ge=1, description="consecutive good readings after which it can resolve")

    @model_validator(mode="after")
    def _window_holds_enough(self) -> NonFinite:
        if self.at_least > self.of:
            raise ValueError(
                f"`at_least: {self.at_least}` can never be reached within `of: {self.of}` readings"
            )
        return self

    def turned(self) -> NonFinite | None:
        """What is not a number has no direction."""
        return None

    def initial(self) -> NonFiniteMemory:
        """Nothing bad seen."""
        return NonFiniteMemory()

    def update(self, memory: NonFiniteMemory, step: int, value: float) -> tuple[NonFiniteMemory, Reading]:
        """The memory after one more reading, and what it says."""
        record = memory.record + 1
        is_bad = not math.isfinite(value) or (self.counts and value > 0)
        bad = memory.bad if not memory.bad or memory.bad[0] > record - self.of else memory.bad[1:]
        if is_bad:
            now = NonFiniteMemory(record, (*bad, record), 0)
        else:
            now = NonFiniteMemory(record, bad, memory.good + 1)
        breach = is_bad and len(now.bad) >= self.at_least
        return now, Reading(
            breach,
            clear=now.good >= self.clear_after,
            value=value,
            threshold=0.0 if self.counts else None,
            clear_level=0.0 if self.counts else None,
        )

    def skim(self, memory: NonFiniteMemory, values: NDArray[np.floating[Any]]) -> int:
        """Good readings change nothing as long as none is remembered as bad."""
        if memory.bad and memory.record - memory.bad[-1] < self.of:
            return 0
        bad = self.news(values)
        return int(bad.argmax()) if bad.any() else len(values)

    def news(self, values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Those that are bad."""
        bad: NDArray[np.bool_] = ~np.isfinite(values)
        if self.counts:
            bad |= values > 0
        return bad

    def dump(self, memory: NonFiniteMemory) -> dict[str, Any]:
        """As JSON."""
        return {"record": memory.record, "bad": list(memory.bad), "good": memory.good}

    def load(self, stored: Mapping[str, Any]) -> NonFiniteMemory:
        """From JSON."""
        if stored.keys() != self.dump(self.initial()).keys():
            return self.initial()
        return NonFiniteMemory(stored["record"], tuple(stored["bad"])[-self.of :], stored["good"])
