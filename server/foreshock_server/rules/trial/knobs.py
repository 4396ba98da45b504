"""A detector -> the one number of it that says how bad is bad, and the detector with another one. Pure.

What comes after the first firing (`critical`, `clear`) is left out of a turned detector; what makes it fire beside the knob
(a spike's `alone`, the critical share of a forecast) is turned along in proportion, so that one number still decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, Literal, NamedTuple

from foreshock_server.rules.detectors import (
    AnyDetector,
    Band,
    ForecastDrop,
    Plateau,
    Shift,
    Slope,
    Spike,
    Threshold,
)

_LEAST, _MOST = 0.99, 1.01  # a share below 1 and a multiple above 1 that packs may write, next to it
_ENDLESS = 1e30  # beyond any reading
KINDS = ("threshold", "band", "drop", "rise", "forecast-drop", "slope", "spike", "plateau")  # that have one


class Knob(NamedTuple):
    """The number that is turned."""

    name: str  # as packs write it; `width` of a band: from `low` to `high`, about the same middle
    value: float  # as the rule has it
    quiet: Literal[1, -1]  # 1: a higher one fires less, -1: a lower one
    levels: Callable[
        [float], dict[str, float]
    ]  # what packs write for a value: the number itself, and what follows it
    drops: tuple[str, ...] = ()  # levels of a turned detector that are left out
    after: tuple[
        tuple[str, float | None, int], ...
    ] = ()  # those that must lie beyond it (1) or on its good side (-1)
    low: float = -math.inf  # packs may write it from here …
    high: float = math.inf  # … to there
    factors: bool = False  # it is positive, and means a factor
    whole: bool = False
    beside: str | None = None  # a line of its own that fires whatever the knob is

    @property
    def loudest(self) -> float:
        """At which it fires as soon as there is a verdict."""
        return self.at(-self.quiet * _end(self.factors))

    @property
    def quietest(self) -> float:
        """At which it cannot fire."""
        return self.at(self.quiet * _end(self.factors))

    @property
    def place(self) -> float:
        """Where the rule's own value lies on the way that is searched."""
        return math.log(self.value) if self.factors else self.value

    def at(self, place: float) -> float:
        """The value at a place on that way."""
        return math.exp(place) if self.factors else place

    def turned(self, detector: AnyDetector, value: float) -> AnyDetector:
        """The detector with this value, also where packs may not write it."""
        left_out: Mapping[str, Any] = dict.fromkeys(self.drops)
        return detector.model_copy(update={**left_out, **self.levels(value)})


def _end(factors: bool) -> float:
    return math.log(_ENDLESS) if factors else _ENDLESS


@singledispatch
def knob_of(detector: object) -> Knob | None:
    """None: no single number of this detector decides."""
    return None


@knob_of.register(Threshold)
@knob_of.register(Slope)
def _(detector: Threshold | Slope) -> Knob:
    after = (("critical", detector.critical, 1), ("clear", detector.clear, -1))
    drops = ("critical", "clear")
    if detector.above is not None:
        return _knob("above", detector.above, 1, drops=drops, after=after)
    return _knob("below", detector.below, -1, drops=drops, after=after)


@knob_of.register
def _(detector: Shift) -> Knob:
    rise = detector.kind == "rise"
    after = (("critical", detector.critical, 1), ("clear", detector.clear, -1))
    drops = ("critical", "clear", "absolute_critical", "absolute_clear")
    beside = None if detector.absolute is None else f"`absolute: {detector.absolute:g}`"
    if detector.by is not None:
        return _knob("by", detector.by, 1, drops=drops, after=after, low=0.0, beside=beside)
    bounds = {"low": _MOST} if rise else {"low": 0.0, "high": _LEAST}
    return _knob("to", detector.to, 1 if rise else -1, drops=drops, after=after, beside=beside, **bounds)


@knob_of.register
def _(detector: Band) -> Knob:
    middle = (detector.low + detector.high) / 2

    def levels(width: float) -> dict[str, float]:
        return {"low": middle - width / 2, "high": middle + width / 2}

    drops = ("critical_low", "critical_high", "clear_low", "clear_high")
    return Knob("width", detector.high - detector.low, 1, levels, drops, low=0.0)


@knob_of.register
def _(detector: Spike) -> Knob:
    ratio = None if detector.alone is None else detector.alone / detector.z

    def levels(z: float) -> dict[str, float]:
        return {"z": z} if ratio is None else {"z": z, "alone": z * ratio}

    after = (("critical", detector.critical, 1),)
    return Knob("z", detector.z, 1, levels, ("critical",), after, low=detector.clear_z)


@knob_of.register
def _(detector: ForecastDrop) -> Knob:
    ratio = detector.critical_share / detector.share

    def levels(share: float) -> dict[str, float]:
        return {"share": share, "critical_share": share * ratio}

    most = min(_LEAST, _LEAST * detector.clear_share / ratio)  # the critical line stays below that of `clear`
    return Knob("share", detector.share, -1, levels, low=0.0, high=most, factors=True)


@knob_of.register
def _(detector: Plateau) -> Knob:
    after = (("critical_records", detector.critical_records, 1),)
    return _knob("records", detector.records, 1, drops=("critical_records",), after=after, low=2, whole=True)


def _knob(name: str, value: float | None, quiet: Literal[1, -1], **others: Any) -> Knob:
    def levels(value: float) -> dict[str, float]:
        return {name: int(value) if others.get("whole") and math.isfinite(value) else value}

    assert value is not None  # noqa: S101 (validated)
    return Knob(name, value, quiet, levels, **others)
