"""All places of a statistic -> one number: a quantile over them, or the share of them beyond a level.

The readings of one round are combined. A round is over when every place has been read, or when one is read again before others have
been; those then count with their last reading, unless that is too old. So it makes no difference whether places are recorded together
or in turns, and one that is gone holds nobody up for long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from foreshock_server.rules.derived.derivation import Derivation, Made, Moment, Process
from foreshock_server.rules.detectors.reading import Baseline

NAMED = 3  # places that stand out
_NO_BASELINE = Baseline()


class Place(NamedTuple):
    """What is remembered of one place."""

    step: int | None = None  # of its last reading; None: it is not waited for
    value: float | None = None  # None: it was not finite
    fresh: bool = False  # read in this round
    baseline: Baseline = Baseline()


class AcrossMemory(NamedTuple):
    """What is remembered between rows."""

    moment: Moment | None = None  # of the last row
    places: Mapping[int, Place] = {}  # by series


class Across(Derivation):
    """All series of one statistic and rank that the rule is about, as one. From step 0: as soon as enough places have been read."""

    many: ClassVar[bool] = True

    kind: Literal["across"]
    quantile: float | None = Field(
        None, ge=0, le=1, description="this quantile over the places, the lower of two"
    )
    share_below: float | None = Field(
        None, allow_inf_nan=False, description="the share of places below this level"
    )
    share_above: float | None = Field(
        None, allow_inf_nan=False, description="the share of places above this level"
    )
    relative_to_baseline: bool = Field(
        False,
        description="each place is compared with what it began with: the median of its first readings, frozen",
    )
    baseline_records: int = Field(
        10, ge=1, le=200, description="readings of a place that make its baseline; before, it does not count"
    )
    places: int = Field(3, ge=1, le=4096, description="with fewer than this there is no reading")

    @model_validator(mode="after")
    def _one_measure(self) -> Across:
        said = [one for one in (self.quantile, self.share_below, self.share_above) if one is not None]
        if len(said) != 1:
            raise ValueError(
                "write exactly one of `quantile: SHARE`, `share_below: LEVEL` and `share_above: LEVEL`"
            )
        return self

    def unit(self, unit: str) -> str:
        """A quantile of plain readings has theirs."""
        return "" if self.quantile is None or self.relative_to_baseline else unit

    def initial(self) -> AcrossMemory:
        """No place read."""
        return AcrossMemory()

    def take(
        self, memory: AcrossMemory, moment: Moment, first: Mapping[int, float], other: Sequence[float]
    ) -> tuple[AcrossMemory, Sequence[Made]]:
        """As `Derivation` says."""
        if not first:
            return memory, ()
        places = dict(memory.places)
        made: list[Made | None] = []
        if memory.moment is not None and memory.moment.process != moment.process:
            places = {number: Place(baseline=one.baseline) for number, one in places.items()}
        elif memory.moment is not None and any(
            places[number].fresh for number in first.keys() & places.keys()
        ):
            made.append(self._close(places, memory.moment))
        for number, value in first.items():
            baseline = places[number].baseline if number in places else _NO_BASELINE
            is_finite = math.isfinite(value)
            if is_finite and self.relative_to_baseline and baseline.value is None:
                baseline = baseline.after(value, self.baseline_records)
            places[number] = Place(moment.step, value if is_finite else None, True, baseline)
        if all(one.fresh for one in places.values() if one.step is not None):
            made.append(self._close(places, moment))
        return AcrossMemory(moment, places), [one for one in made if one is not None]

    def _close(self, places: dict[int, Place], moment: Moment) -> Made | None:
        """The number of this round; what is in `places` awaits the next."""
        levels: list[tuple[float, int]] = []
        for number, one in places.items():
            if one.step is None:
                continue
            if abs(moment.step - one.step) > self.max_age_steps:
                places[number] = Place(baseline=one.baseline)
                continue
            places[number] = Place(one.step, one.value, False, one.baseline)
            level = self._level(one)
            if level is not None:
                levels.append((level, number))
        if len(levels) < self.places:
            return None
        levels.sort()
        value, says, apart = self._measured(levels)
        return Made(moment.step, moment.time, value, says, tuple(number for _, number in apart[:NAMED]))

    def _level(self, place: Place) -> float | None:
        if place.value is None or not self.relative_to_baseline:
            return place.value
        base = place.baseline.value
        return None if base is None or base <= 0 else place.value / base

    def _measured(
        self, levels: Sequence[tuple[float, int]]
    ) -> tuple[float, str, Sequence[tuple[float, int]]]:
        """The number, what to say of it, and the places from the one that stands out most; `levels` ascend."""
        count = len(levels)
        if self.quantile is not None:
            value = levels[math.floor(self.quantile * (count - 1))][0]
            apart = levels if self.quantile <= 0.5 else levels[::-1]
            return value, f"quantile {self.quantile:g} of {count} places", apart
        if self.share_below is not None:
            beyond = [one for one in levels if one[0] < self.share_below]
        else:
            line = self.share_above or 0.0
            beyond = [one for one in reversed(levels) if one[0] > line]
        return len(beyond) / count, f"{len(beyond)} of {count} places", beyond

    def dump(self, memory: AcrossMemory) -> dict[str, Any]:
        """As JSON."""
        moment = memory.moment
        return {
            "relative": self.relative_to_baseline,
            "moment": None if moment is None else [list(moment.process), moment.step, moment.time],
            "places": [
                [number, one.step, one.value, one.fresh, one.baseline.value, list(one.baseline.gathered)]
                for number, one in memory.places.items()
            ],
        }

    def load(self, stored: Mapping[str, Any]) -> AcrossMemory:
        """From JSON."""
        if (
            stored.keys() != self.dump(self.initial()).keys()
            or stored["relative"] != self.relative_to_baseline
        ):
            return self.initial()
        moment: Moment | None = None
        if stored["moment"] is not None:
            (attempt, writer), step, time = stored["moment"]
            process: Process = (attempt, writer)
            moment = Moment(process, step, time)
        places = {
            number: Place(step, value, fresh, Baseline(base, tuple(gathered)))
            for number, step, value, fresh, base, gathered in stored["places"]
        }
        return AcrossMemory(moment, places)
