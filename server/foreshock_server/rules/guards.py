"""What a statistic rests on, read beside it -> which of its readings count. Pure.

A rank of three rows and an entropy of no tokens are numbers like any other, and say nothing. A rule names what must be there
(`needs`): a companion series of the same place, labels and rank, such as `n_eff`. From the step at which the companion falls short to
the step at which it does no longer, readings do not count: the alert stands where it stood. Steps decide, so a statistic that is
finished later than its companion is held back by the right readings of it. The companion counts from the first reading of the series
on, in the order in which the writer recorded them; so no cut into blocks changes anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock_server.rules.detectors import Baseline
from foreshock_server.store.rows import RowGroup

_LEAST = -float(np.finfo(np.float64).max)  # of finite numbers
_NO_STEP = int(np.iinfo(np.int64).min)  # before all steps


class SeriesLike(Protocol):
    """What of a series tells whether it is the companion of another."""

    @property
    def statistic(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def labels(self) -> dict[str, Any]: ...


class Gauge(NamedTuple):
    """What is remembered of a companion."""

    usual: Baseline = Baseline()
    since: int | None = None  # the step at which it fell short …
    until: int | None = None  # … and at which it did no longer
    value: float | None = None  # the last reading that was short

    @property
    def is_short(self) -> bool:
        """True while it is."""
        return self.since is not None and self.until is None

    def holds(self, step: int) -> bool:
        """True when a reading at this step does not count."""
        return self.since is not None and self.since <= step and (self.until is None or step < self.until)


class Bounds(NamedTuple):
    """Readings of a companion from `low` to `high`, at this step or later, leave its gauge as it is and hold nothing back."""

    low: float
    high: float
    step: int


class Calm(NamedTuple):
    """Rows of a frame that change no gauge, and of which nothing is held back: the readings of all companions lie within these."""

    columns: NDArray[np.intp]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    step: int  # the first that is not too early

    def lets_pass(self, group: RowGroup) -> bool:
        """True when all of these rows are such."""
        values = group.values[:, self.columns]
        within = (values >= self.low) & (values <= self.high)
        if group.absent is not None:
            within |= group.absent[:, self.columns]
        return bool(group.steps.min() >= self.step and within.all())


class Need(BaseModel):
    """What a companion must be for a reading to count; one that never comes asks for nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    statistic: str = Field(min_length=1, description="of the companion, such as `n_eff`")
    at_least: float | None = Field(None, allow_inf_nan=False, description="it must not be less than this")
    at_most: float | None = Field(None, allow_inf_nan=False, description="nor more than this")
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="nor less than this share of what is usual: the median of its first `records` readings, frozen",
    )
    records: int = Field(20, ge=1, le=2000, description="readings that tell what is usual")

    @model_validator(mode="after")
    def _asks_for_something(self) -> Need:
        if self.at_least is None and self.at_most is None and self.share is None:
            raise ValueError("say what it must be: `at_least: NUMBER`, `at_most: NUMBER` or `share: SHARE`")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"`at_least: {self.at_least:g}` must not exceed `at_most: {self.at_most:g}`")
        return self

    def fits(self, companion: SeriesLike, series: SeriesLike) -> bool:
        """True when the companion is that of the series: of its place and rank, with no label that the series has not."""
        return (
            companion.statistic == self.statistic
            and companion.place == series.place
            and companion.labels.get("rank") == series.labels.get("rank")
            and companion.labels.items() <= series.labels.items()
        )

    def after(self, gauge: Gauge, step: int, value: float) -> Gauge:
        """The gauge after one more reading of the companion."""
        if self._lies_within(value):
            usual = gauge.usual if self.share is None else gauge.usual.after(value, self.records)
            if not self._is_unusual(value, usual):
                ends = gauge.is_short or gauge.holds(step)
                return gauge._replace(usual=usual, until=step if ends else gauge.until)
            gauge = gauge._replace(usual=usual)
        since = gauge.since if gauge.is_short and gauge.since is not None else step
        return gauge._replace(since=min(since, step), until=None, value=value)

    def says(self, gauge: Gauge) -> str | None:
        """Why readings do not count now; None: they do."""
        if not gauge.is_short or gauge.value is None:
            return None
        reads = f"{self.statistic} reads {gauge.value:,.4g}"
        if self.at_most is not None and gauge.value > self.at_most:
            return f"{reads}, more than {self.at_most:,.4g}"
        if self.at_least is not None and not gauge.value >= self.at_least:
            return f"{reads}, less than {self.at_least:,.4g}"
        if self.share is None or gauge.usual.value is None:
            return reads
        return f"{reads}, less than {self.share:.0%} of the usual {gauge.usual.value:,.4g}"

    def _lies_within(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    def _is_unusual(self, value: float, usual: Baseline) -> bool:
        return self.share is not None and usual.value is not None and value < self.share * usual.value

    def bounds(self, gauge: Gauge) -> Bounds | None:
        """Which readings change nothing; None: each may."""
        if gauge.is_short or (self.share is not None and gauge.usual.value is None):
            return None
        low = _LEAST if self.at_least is None else self.at_least
        if self.share is not None and gauge.usual.value is not None:
            low = max(low, self.share * gauge.usual.value)
        high = -_LEAST if self.at_most is None else self.at_most
        return Bounds(low, high, _NO_STEP if gauge.until is None else gauge.until)

    def changes_nothing(self, gauge: Gauge, steps: Sequence[int], values: NDArray[np.float64]) -> bool:
        """True when such readings leave the gauge as it is, and hold nothing back: found for all of them in one go."""
        bounds = self.bounds(gauge)
        if bounds is None or min(steps) < bounds.step:
            return False
        return bool(((values >= bounds.low) & (values <= bounds.high)).all())


def dump(needs: Sequence[Need], gauges: Sequence[Gauge]) -> list[Any]:
    """As JSON."""
    return [
        [
            need.statistic,
            gauge.usual.value,
            list(gauge.usual.gathered),
            gauge.since,
            gauge.until,
            None if gauge.value is None or not math.isfinite(gauge.value) else gauge.value,
        ]
        for need, gauge in zip(needs, gauges, strict=True)
    ]


def load(needs: Sequence[Need], stored: Sequence[Any]) -> tuple[Gauge, ...]:
    """From JSON; what was remembered of other companions is forgotten."""
    if [one[0] for one in stored] != [need.statistic for need in needs]:
        return tuple(Gauge() for _ in needs)
    return tuple(
        Gauge(
            Baseline(usual, tuple(gathered)),
            since,
            until,
            math.nan if since is not None and value is None else value,
        )
        for _, usual, gathered, since, until, value in stored
    )
