"""Stored columns and alerts -> Scene: everything that one figure is drawn from, and nothing else. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["warning", "critical"]


@dataclass(frozen=True)
class SeriesInfo:
    """What is known of a series without reading its values."""

    key: str
    statistic: str
    family: str
    place: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    title: str | None = None
    nonfinite: int = 0
    points: int = 0
    last: float | str | None = None  # "NaN", "Infinity", "-Infinity" for a last reading that is not finite
    axis: Mapping[str, Any] | None = None  # of a vector: what its entries are

    def short(self, *without: str) -> str:
        """Its labels in words, for a legend: the place first, then `name=value` of the others."""
        rest = [f"{name}={value}" for name, value in self.labels.items() if name not in ("place", *without)]
        return " ".join([*([self.place] if self.place and "place" not in without else []), *rest])


def names(infos: Sequence[SeriesInfo]) -> list[str]:
    """A name for each series that says no more than what tells it from the others."""
    if len({info.statistic for info in infos}) > 1:
        return [info.key for info in infos]
    everywhere = set.intersection(*(set(info.labels.items()) for info in infos)) if infos else set()
    same = [label for label, _ in everywhere if len(infos) > 1 and label != "place"]
    return [info.short(*same) or info.title or info.statistic for info in infos]


@dataclass(frozen=True)
class EntryMap:
    """A vector as it is drawn: E entries over C stretches of steps, and its latest reading."""

    axis: str
    names: tuple[str, ...]
    edges: NDArray[np.float64]  # [C + 1], on the step axis
    means: NDArray[np.float64]  # [E, C]; NaN where an entry has no finite reading
    last: NDArray[np.float64]  # [E]
    last_step: int | None


@dataclass(frozen=True)
class Curve:
    """One series as it is drawn: a NaN among `values` breaks the line, and says nothing about the reading.

    Of a vector the line is the mean of its entries, and `entries` has them all.
    """

    info: SeriesInfo
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    odd_steps: NDArray[np.int64]  # where a reading was NaN or infinite
    odd_values: NDArray[np.float64]
    course_steps: NDArray[
        np.int64
    ]  # medians of consecutive readings, broken like the line; empty for a short series
    course_values: NDArray[np.float64]
    entries: EntryMap | None = None

    @property
    def finite(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values without the breaks."""
        keep = np.isfinite(self.values)
        return self.steps[keep], self.values[keep]

    def positive(self) -> Curve:
        """For a logarithmic axis, which has no zero: such a reading breaks the line instead of vanishing without a trace."""
        return replace(self, values=np.where(self.values > 0, self.values, np.nan))

    def pieces(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The unbroken stretches of the line, in order."""
        breaks = np.flatnonzero(~np.isfinite(self.values))
        for part in np.split(np.arange(len(self.values)), breaks):
            part = part[np.isfinite(self.values[part])]
            if len(part):
                yield self.steps[part], self.values[part]


@dataclass(frozen=True)
class Interval:
    """One episode of an alert on the step axis; `until` is None while it fires."""

    rule: str
    title: str
    key: str
    severity: Severity
    since: int
    fired: int
    until: int | None
    places: int = 1  # intervals that were merged into this one


@dataclass(frozen=True)
class Limit:
    """A level that a rule compares with: the very number of its last evaluation."""

    rule: str
    key: str
    kind: Literal[
        "baseline", "warning", "falling", "critical", "clear"
    ]  # falling: a warning only while a trend leads down
    value: float
    firing: bool = False


@dataclass(frozen=True)
class Forecast:
    """Where a rule expects the series: from (step, value) down or up to `level` within low..high further steps."""

    rule: str
    key: str
    step: int
    value: float
    level: float
    low: float
    high: float


@dataclass(frozen=True)
class Scene:
    """The curves a figure asked for, with what the rules said about exactly these series."""

    run: str
    theme: str = "light"
    curves: tuple[Curve, ...] = ()
    intervals: tuple[Interval, ...] = ()
    limits: tuple[Limit, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    last_step: int = 0
    first: int | None = None  # the steps that were asked for, ends included; None: to the end
    last: int | None = None

    def of(self, *statistics: str) -> list[Curve]:
        """The curves of these statistics, in the order of the names, then as stored."""
        return [curve for name in statistics for curve in self.curves if curve.info.statistic == name]

    def one(self, statistic: str) -> Curve | None:
        """The curve of a statistic that has no place: the whole model's, rank 0's when there are several."""
        found = self.of(statistic)
        return min(
            found,
            key=lambda curve: (bool(curve.info.place), len(curve.info.labels), curve.info.key),
            default=None,
        )


def intervals(
    alerts: Iterable[Mapping[str, Any]], transitions: Iterable[Mapping[str, Any]]
) -> tuple[Interval, ...]:
    """Every episode, from its transitions; an escalation ends the warning's interval and begins the critical one."""
    titles = {alert["rule"]: str(alert.get("title") or alert["rule"]) for alert in alerts}
    episodes: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for change in transitions:
        episodes.setdefault((change["rule"], change["series"], change["episode"]), []).append(change)
    found = []
    for (rule, key, _), changes in episodes.items():
        changes = sorted(changes, key=lambda change: (change["step"], change["kind"] != "fired"))
        for change, following in zip(changes, [*changes[1:], None], strict=True):
            if change["kind"] == "resolved":
                continue
            since = change.get("since_step") if change["kind"] == "fired" else None
            found.append(
                Interval(
                    rule=rule,
                    title=titles.get(rule, rule),
                    key=key,
                    severity="critical" if change["severity"] == "critical" else "warning",
                    since=int(change["step"] if since is None else since),
                    fired=int(change["step"]),
                    until=None if following is None else int(following["step"]),
                )
            )
    return tuple(sorted(found, key=lambda interval: (interval.since, interval.rule, interval.key)))


def merged(found: Iterable[Interval]) -> list[Interval]:
    """Overlapping intervals of one severity as one, so that shades do not add up where many places say the same."""
    joined: list[Interval] = []
    for severity in ("warning", "critical"):
        last: Interval | None = None
        for one in sorted((one for one in found if one.severity == severity), key=lambda one: one.since):
            if last is None or (last.until is not None and one.since > last.until):
                last = one
                joined.append(one)
                continue
            last = replace(
                last,
                fired=min(last.fired, one.fired),
                until=None if last.until is None or one.until is None else max(last.until, one.until),
                rule=last.rule if one.rule in last.rule.split() else f"{last.rule} {one.rule}",
                title=last.title if one.title in last.title else f"{last.title}; {one.title}",
                places=last.places + 1,
            )
            joined[-1] = last
    return sorted(joined, key=lambda one: (one.since, one.severity == "critical"))


def limits(alerts: Iterable[Mapping[str, Any]], trend_rules: Collection[str] = ()) -> tuple[Limit, ...]:
    """Baseline and thresholds of every evaluated alert, firing or not; the level that clears it only while it fires."""
    found: list[Limit] = []
    for alert in _of_the_series(alerts):
        rule, key, firing = alert["rule"], alert["series"], alert.get("state") == "firing"
        two = _number(alert.get("warn_level")) is not None  # then `threshold` is the critical one
        severity: Severity = "critical" if two or alert.get("severity") == "critical" else "warning"
        levels = (
            Limit(rule, key, "baseline", _or_nan(alert.get("baseline")), firing),
            Limit(
                rule,
                key,
                "falling" if rule in trend_rules else "warning",
                _or_nan(alert.get("warn_level")),
                firing,
            ),
            Limit(rule, key, severity, _or_nan(alert.get("threshold")), firing),
            Limit(rule, key, "clear", _or_nan(alert.get("clear")) if firing else math.nan, firing),
        )
        found += [limit for limit in levels if not math.isnan(limit.value)]
    return tuple(found)


def forecasts(alerts: Iterable[Mapping[str, Any]]) -> tuple[Forecast, ...]:
    """The forecast of every alert that fires and has one; it begins at the level that the rule compared."""
    found = []
    for alert in _of_the_series(alerts):
        forecast = alert.get("forecast")
        begin = _number(alert.get("level", alert.get("value")))
        if alert.get("state") != "firing" or not forecast or begin is None or alert.get("step") is None:
            continue
        level = _number(forecast.get("level_target", alert.get("threshold")))
        low, high = _number(forecast.get("low_steps")), _number(forecast.get("high_steps"))
        if level is not None and low is not None and high is not None:
            found.append(
                Forecast(alert["rule"], alert["series"], int(alert["step"]), begin, level, low, high)
            )
    return tuple(found)


def _of_the_series(alerts: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Those whose levels belong on its curve: what is derived from several series lies on another scale."""
    return (alert for alert in alerts if not alert.get("derived"))


def worst(alerts: Iterable[Mapping[str, Any]], keys: Collection[str] | None = None) -> str:
    """`collapsing`, `watch` or `fine`: the worst of what fires or is about to, on these series, as the verdict counts it."""
    found = {
        (alert["state"], alert["severity"]) for alert in alerts if keys is None or alert["series"] in keys
    }
    if ("firing", "critical") in found:
        return "collapsing"
    return "watch" if any(state in ("firing", "pending") for state, _ in found) else "fine"


def _or_nan(value: Any) -> float:
    number = _number(value)
    return math.nan if number is None else number


def _number(value: Any) -> float | None:
    """A finite number, else None: an infinite limit cannot be drawn."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
