"""What derivations share: when something is recorded, what is made of it, and their shape. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from foreshock_server.rules.matching import Match, Strict

Process = tuple[int, str]  # attempt, writer


class Moment(NamedTuple):
    """A row of a frame: who recorded it, at which step and when."""

    process: Process
    step: int
    time: float


class Made(NamedTuple):
    """One derived reading."""

    step: int
    time: float
    value: float
    says: str  # what it is of, for the sentence
    places: tuple[int, ...] = ()  # the series that stand out, the worst first


class Derivation(Strict):
    """Readings of some series -> readings of one. All it remembers is in its memory, which is immutable and small enough for a row.

    What one process recorded is not combined with what another did, nor with what an earlier attempt did: between them there is no
    order that would always be the same.
    """

    many: ClassVar[bool] = (
        False  # all series that match are one; else each of them is one, with the other it is compared to
    )

    max_age_steps: int = Field(
        100, ge=0, le=10**9, description="readings farther apart than this are not combined"
    )

    @property
    def partner(self) -> Match | None:
        """The series that those which the rule is about are compared with."""
        return None

    def unit(self, unit: str) -> str:
        """Of what is made of series with this unit."""
        return ""

    def initial(self) -> Any:
        """The memory before the first reading."""
        raise NotImplementedError

    def take(
        self, memory: Any, moment: Moment, first: Mapping[int, float], other: Sequence[float]
    ) -> tuple[Any, Sequence[Made]]:
        """The memory after one row more, and what is made of it. `first`: what the row has of the series that the rule is about, by
        their id; `other`: of the ones they are compared with."""
        raise NotImplementedError

    def dump(self, memory: Any) -> dict[str, Any]:
        """The memory as JSON: lists and finite numbers."""
        raise NotImplementedError

    def load(self, stored: Mapping[str, Any]) -> Any:
        """The memory that `dump` wrote; one that does not fit, as after a change of the rule, begins anew."""
        raise NotImplementedError


class Last(NamedTuple):
    """A reading that waits to be combined."""

    step: int
    value: float


def last_of(step: int, values: Sequence[float], before: Last | None) -> Last | None:
    """The latest of these, else the one before. One that is not finite is none, and ends what came before it."""
    if not values:
        return before
    return Last(step, values[-1]) if math.isfinite(values[-1]) else None
