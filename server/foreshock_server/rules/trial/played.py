"""The cases of a rule -> what was drawn, how the alerts stood and what is expected of them, as JSON: what charts of tests show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.message import number
from foreshock_server.rules.state import Kind, State
from foreshock_server.rules.trial.cases import Case, When
from foreshock_server.rules.trial.drawing import Drawn
from foreshock_server.rules.trial.drawn import Performed, Row, perform, worst

MOST_DRAWN = 20_000  # readings of all cases together
MOST_CURVES = 12  # of one case


def played(cases: Iterable[Case], rules: RuleSet) -> list[dict[str, Any]]:
    """One entry a case; those behind the first MOST_DRAWN readings are not played, and say so."""
    found: list[dict[str, Any]] = []
    left = MOST_DRAWN
    for case in cases:
        if left <= 0:
            said = f"not played: the tests before it draw {MOST_DRAWN:,} readings; `foreshock rules test` has no such bound"
            found.append(_told(case, Performed([said], {}, [])))
            continue
        done = perform(case, rules)
        left -= sum(len(entry) for entries in done.drawings.values() for entry in entries)
        found.append(_told(case, done))
    return found


def _told(case: Case, done: Performed) -> dict[str, Any]:
    last = done.rows[-1].step if done.rows else None
    return {
        "name": case.name,
        "passed": not done.problems,
        "problems": done.problems,
        "curves": [
            {"series": key, **_curve(entries)} for key, entries in list(done.drawings.items())[:MOST_CURVES]
        ],
        "states": stretches(done.rows),
        "fires": case.fires,
        "fired_step": _step(done.rows, Kind.FIRED),
        "resolves": case.resolves,
        "resolved_step": _step(done.rows, Kind.RESOLVED),
        "expected": [
            {"first": one.range[0], "last": one.range[1], "state": one.state, "severity": one.severity}
            for one in case.expect
        ]
        + _from_words(case.fires, last),
    }


def _curve(entries: Sequence[Sequence[Drawn]]) -> Mapping[str, Any]:
    """Of a vector the mean of its entries, as far as they were drawn. A step without a reading is null, a NaN is "NaN"."""
    if len(entries) == 1:
        return {
            "steps": [one.step for one in entries[0]],
            "values": [number(one.value) for one in entries[0]],
        }
    columns: dict[tuple[int, int], list[float]] = {}
    for entry in entries:
        for one in entry:
            columns.setdefault((one.attempt, one.step), []).extend([] if one.value is None else [one.value])
    return {
        "steps": [step for _, step in columns],
        "values": [number(sum(some) / len(some)) if some else None for some in columns.values()],
    }


def stretches(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How the worst of the alerts stood, in stretches of steps; those in which nothing was wrong are left out."""
    found = []
    for (_, standing), some in groupby(rows, key=lambda row: (row.attempt, worst(row))):
        steps = [row.step for row in some]
        if standing.state is not State.OK:
            severity = None if standing.severity is None else standing.severity.value
            found.append(
                {"first": steps[0], "last": steps[-1], "state": standing.state.value, "severity": severity}
            )
    return found


def _step(rows: Sequence[Row], kind: Kind) -> int | None:
    return next((row.step for row in rows if kind in row.kinds), None)


def _from_words(fires: When | None, last: int | None) -> list[dict[str, Any]]:
    """What `fires` expects of stretches of steps: nothing fires before, or at all."""
    if fires is None or last is None:
        return []
    if fires == "never":
        return [{"first": 0, "last": last, "state": "not firing", "severity": None}]
    low, high = fires if isinstance(fires, list) else (fires, fires)
    return [{"first": low, "last": high, "state": "fires", "severity": None}]
