"""What a rule said of a run -> what is drawn over the curve of one of its series: how the alert stood, and the lines it was compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from foreshock_server.rules.detectors import Reading
from foreshock_server.rules.memory import Memory
from foreshock_server.rules.message import number
from foreshock_server.rules.state import Kind
from foreshock_server.rules.trial.replay import Said

MOST_STRETCHES = 200  # of an alert that flaps
_LINES = ("baseline", "warn_level", "threshold", "clear")  # as transitions have them


class Levels(NamedTuple):
    """The lines that the reading at a step was compared with, as transitions write them."""

    step: int
    lines: Mapping[str, Any]


def last_levels(found: dict[str, dict[str, Levels]], memory: Memory) -> None:
    """Add, by rule and series, the lines of the last reading. Of what is made of several series there are none on a curve."""
    for (rule, _), watch in memory.watches.items():
        if watch.last is not None and watch.rule.made is None:
            at = Levels(watch.machine.last_step or 0, _lines(watch.last))
            found.setdefault(rule, {})[watch.series.key] = at


def curve_of(
    watched: Sequence[str], said: Sequence[Said], ends: Mapping[str, Levels], last: int | None
) -> dict[str, Any] | None:
    """Of the series that fired first, else of the first that the rule watches; None: it watches none. `last`: the run's last step."""
    if not watched:
        return None
    key = next((one.key for one in said if one.change.kind is Kind.FIRED), min(watched))
    own = [one for one in said if one.key == key]
    levels = [
        Levels(one.change.step, {name: one.change.detail.get(name) for name in _LINES})
        for one in own
        if one.change.watch.rule.made is None
    ]
    if key in ends:
        levels.append(ends[key])
        last = max(ends[key].step, ends[key].step if last is None else last)
    return {
        "series": key,
        "states": stretches(own, last)[:MOST_STRETCHES],
        "levels": [{"step": one.step, **one.lines} for one in _different(levels)[:MOST_STRETCHES]],
    }


def stretches(said: Sequence[Said], last: int | None) -> list[dict[str, Any]]:
    """How the alert of one series stood, from its transitions: pending from the first reading beyond the line, then firing, warning or
    critical, until it resolved or the run's last step. Where nothing was wrong, there is none."""
    found: list[dict[str, Any]] = []
    open_since: tuple[int, str] | None = None
    for one in said:
        step, severity = one.change.step, one.change.severity.value
        if one.change.kind is Kind.FIRED:
            since = step if one.change.since_step is None else one.change.since_step
            if since < step:
                found.append({"first": since, "last": step, "state": "pending", "severity": None})
            open_since = (step, severity)
            continue
        if open_since is not None:
            found.append({"first": open_since[0], "last": step, "state": "firing", "severity": open_since[1]})
        open_since = None if one.change.kind is Kind.RESOLVED else (step, severity)
    if open_since is not None:
        end = open_since[0] if last is None else max(last, open_since[0])
        found.append({"first": open_since[0], "last": end, "state": "firing", "severity": open_since[1]})
    return found


def _lines(reading: Reading) -> dict[str, Any]:
    return {
        "baseline": number(reading.baseline),
        "warn_level": number(reading.warn_level),
        "threshold": number(reading.threshold),
        "clear": number(reading.clear_level),
    }


def _different(levels: Sequence[Levels]) -> list[Levels]:
    """The first of each that are alike in a row."""
    return [next(some) for _, some in groupby(levels, key=lambda one: dict(one.lines))]
