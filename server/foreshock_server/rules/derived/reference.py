"""A series and the same one of another run -> how it compares, at the same step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from foreshock_server.rules.derived.derivation import Derivation, Made, Moment
from foreshock_server.rules.matching import Text


class Reference(Derivation):
    """The series over what another run read of it, or less that. From step 0: at once, where the other run read something by then."""

    kind: Literal["reference"]
    run: Text = Field(description="id or name of the run, in the same project; one that has ended")
    measure: Literal["ratio", "difference"] = Field(
        "ratio", description="ratio: over what it read, none over zero; difference: less that"
    )

    def unit(self, unit: str) -> str:
        """A difference has that of the series."""
        return unit if self.measure == "difference" else ""

    def initial(self) -> tuple[()]:
        """There is nothing to remember."""
        return ()

    def take(
        self, memory: Any, moment: Moment, first: Mapping[int, float], other: Sequence[float]
    ) -> tuple[Any, Sequence[Made]]:
        """As `Derivation` says; `other`: what the other run read last by this step."""
        if not first or not other:
            return memory, ()
        here, there = next(iter(first.values())), other[-1]
        value = here - there
        if self.measure == "ratio":
            value = here / there if there else math.nan
        if not math.isfinite(value):
            return memory, ()
        return memory, (Made(moment.step, moment.time, value, f"{self.run} had {there:,.3g}"),)

    def dump(self, memory: Any) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load(self, stored: Mapping[str, Any]) -> tuple[()]:
        """Nothing."""
        return ()
