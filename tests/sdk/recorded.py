"""Instruments with what they handed on, step by step."""

from __future__ import annotations

from collections.abc import Mapping

from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments


class Recorded:
    """What instruments with these cadences record."""

    def __init__(self, every: Mapping[str, int]) -> None:
        self.rows: list[StepRow] = []
        self.instruments = Instruments(every=every, on_row=self.rows.append)
        self._step = 0

    def step(self) -> dict[str, float]:
        """Close the step; what it recorded, by series key."""
        first = len(self.rows)
        self.instruments.step(self._step, 0.0)
        self._step += 1
        return {
            spec.key: value
            for row in self.rows[first:]
            for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
        }
