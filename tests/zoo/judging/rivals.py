"""What else people set an alarm with, on the very series that the built-in rules look at.

A *chart* is a statistic and how its series are watched; it alarms where the first of them does. For each family each rival gets the one
chart that does best on the tuning runs: among all statistics that rules of the family's pack watch, at all of their places.

- Level: the mean of the last so many readings beyond an absolute level, as W&B's automations and rlwatch's rules have it. Statistic, side,
  length of the window, warm-up and level are all fitted to the tuning runs.
- EWMA and CUSUM: two-sided control charts about the mean and deviation of each series' first readings, with textbook constants
  (Montgomery, Introduction to Statistical Quality Control: λ = 0.2 and L = 3; k = 0.5 and h = 5); only the statistic is chosen.

A reading that is not finite is beyond every limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tests.zoo.judging.trial import Curve, Ran

Values = NDArray[np.float64]
FIRST = 25  # readings that a control chart takes for healthy
WINDOWS, WARM_UPS = (1, 5, 20), (0, 20)  # readings
FALSE_ALARMS = 0.02  # of the healthy tuning runs, at most, where a level can be had that keeps to it


class Alarm(NamedTuple):
    """Where a chart alarmed first."""

    step: int
    key: str


@dataclass(frozen=True)
class Chart:
    """A statistic and the index of the first reading, of a series of it, that is beyond the limits."""

    statistic: str
    first: Callable[[Values], int | None]
    limits: str  # for people

    def alarm(self, ran: Ran) -> Alarm | None:
        """The first of the run, over all series of the statistic."""
        found = []
        for key, curve in of_statistic(ran, self.statistic):
            at = self.first(curve.values)
            if at is not None:
                found.append(Alarm(int(curve.steps[at]), key))
        return min(found, default=None)


def of_statistic(ran: Ran, statistic: str) -> Iterator[tuple[str, Curve]]:
    """Its series in the run that have a reading."""
    return ((k, one) for k, one in ran.watched.items() if one.statistic == statistic and len(one.steps))


def fitted(tuning: Sequence[Ran]) -> dict[str, Mapping[str, Chart]]:
    """By rival, and by family of these runs, its best chart. A family with nothing to watch in its runs has none."""
    families = sorted({one.family for one in tuning})
    of_family = {family: [one for one in tuning if one.family == family] for family in families}
    makers = {"level, tuned": _levels, "EWMA, λ=0.2 L=3": _ewma, "CUSUM, k=0.5 h=5": _cusum}
    return {
        name: {
            family: best
            for family, runs in of_family.items()
            if (best := _best(make(runs, statistic) for statistic in _statistics(runs))) is not None
        }
        for name, make in makers.items()
    }


class _Rated(NamedTuple):
    score: tuple[float, ...]  # higher is better
    chart: Chart


def _statistics(runs: Sequence[Ran]) -> list[str]:
    return sorted(set().union(*(one.own for one in runs)))


def _best(rated: Iterable[Iterable[_Rated]]) -> Chart | None:
    found = max((one for some in rated for one in some), key=lambda one: one.score, default=None)
    return None if found is None else found.chart


def _rated(chart: Chart, runs: Sequence[Ran]) -> _Rated:
    """By runs told apart, false alarms within bounds first; then by how early."""
    alarms = [(one, chart.alarm(one)) for one in runs]
    hits = [
        at.step / one.steps
        for one, at in alarms
        if at is not None and one.setting.collapses and at.step >= one.begins
    ]
    healthy = [at is not None for one, at in alarms if not one.setting.collapses]
    collapsing = len(alarms) - len(healthy)
    recall, false = len(hits) / max(1, collapsing), sum(healthy) / max(1, len(healthy))
    early = -float(np.median(hits)) if hits else -1.0
    return _Rated((recall - false, early), chart)


# -- an absolute level -----------------------------------------------------------------------------------------------


def _levels(runs: Sequence[Ran], statistic: str) -> Iterator[_Rated]:
    for side, window, warm_up in product((-1.0, 1.0), WINDOWS, WARM_UPS):
        extremes = [
            max(
                (_extreme(curve.values, side, window, warm_up) for _, curve in of_statistic(one, statistic)),
                default=-math.inf,
            )
            for one in runs
        ]
        level = _between(extremes, [one.setting.collapses for one in runs])
        if level is not None:
            yield _rated(Chart(statistic, *_level(side * level, side, window, warm_up)), runs)


def _beyond(values: Values, side: float, window: int, warm_up: int) -> Values:
    """How far out each mean of a window is, towards this side; what is not finite is farther out than anything."""
    sums = np.convolve(np.where(np.isfinite(values), values, np.inf), np.ones(window), "full")[: len(values)]
    counts = np.minimum(np.arange(1, len(values) + 1), window)
    means = np.where(np.isfinite(sums), side * sums / counts, np.inf)
    means[:warm_up] = -np.inf
    return means


def _extreme(values: Values, side: float, window: int, warm_up: int) -> float:
    return float(_beyond(values, side, window, warm_up).max())


def _between(extremes: Sequence[float], collapses: Sequence[bool]) -> float | None:
    """The level that most collapsing runs and few enough healthy ones pass, as far from both sorts as it can be."""
    healthy = sorted(one for one, falls in zip(extremes, collapses, strict=True) if not falls)
    falling = sorted(one for one, falls in zip(extremes, collapses, strict=True) if falls)
    allowed = int(FALSE_ALARMS * len(healthy))
    bound = healthy[-1 - allowed] if healthy else -math.inf
    beyond = [one for one in falling if one > bound]
    if not beyond or not math.isfinite(bound):
        return None
    return (bound + beyond[0]) / 2 if math.isfinite(beyond[0]) else bound + abs(bound) + 1.0


def _level(
    level: float, side: float, window: int, warm_up: int
) -> tuple[Callable[[Values], int | None], str]:
    def first(values: Values) -> int | None:
        return _first(_beyond(values, side, window, warm_up) > side * level)

    way = "above" if side > 0 else "below"
    return first, f"mean of {window} {way} {level:.4g}, after {warm_up} readings"


# -- control charts --------------------------------------------------------------------------------------------------


def _ewma(runs: Sequence[Ran], statistic: str) -> Iterator[_Rated]:
    yield _rated(Chart(statistic, ewma, f"after {FIRST} readings"), runs)


def _cusum(runs: Sequence[Ran], statistic: str) -> Iterator[_Rated]:
    yield _rated(Chart(statistic, cusum, f"after {FIRST} readings"), runs)


def ewma(values: Values, weight: float = 0.2, limit: float = 3.0) -> int | None:
    """The first reading at which the exponentially weighted mean is more than so many of its deviations off."""
    smooth = 0.0
    for at, z in _standardised(values):
        if not math.isfinite(z):
            return at
        smooth = (1 - weight) * smooth + weight * z
        if abs(smooth) > limit * math.sqrt(weight / (2 - weight)):
            return at
    return None


def cusum(values: Values, slack: float = 0.5, limit: float = 5.0) -> int | None:
    """The first reading at which one of the two one-sided sums is beyond the limit, all in deviations."""
    up = down = 0.0
    for at, z in _standardised(values):
        if not math.isfinite(z):
            return at
        up, down = max(0.0, up + z - slack), max(0.0, down - z - slack)
        if max(up, down) > limit:
            return at
    return None


def _standardised(values: Values) -> Iterator[tuple[int, float]]:
    """Index and deviations off, of what follows the first readings. Where those are all the same, any change is beyond limits."""
    base = values[:FIRST]
    if len(values) <= FIRST or not np.isfinite(base).all():
        return
    mean, deviation = float(base.mean()), float(base.std(ddof=1))
    for at in range(FIRST, len(values)):
        off = float(values[at]) - mean
        yield at, off / deviation if deviation > 0 else math.copysign(math.inf, off) if off else 0.0


def _first(beyond: NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(beyond)
    return int(found[0]) if len(found) else None
