"""A run in the database -> where its steps lie in time or in tokens, and what happened on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid
from foreshock_server.figures.axis import Event, Ruler, X
from foreshock_server.models import Series
from foreshock_server.store.columns import read
from foreshock_server.store.heatmap import heatmap
from foreshock_server.store.latest import Counted
from foreshock_server.store.overview import shown
from foreshock_server.store.runs import list_attempts

POINTS = 2000  # of a long run, pairs of step and time
# Running totals as trainers log them; the first that a run has.
TOTALS = (
    "tokens",
    "tokens_seen",
    "num_tokens",
    "total_tokens",
    "num_input_tokens_seen",
    "train/tokens",
    "train/num_tokens",
    "train/num_input_tokens_seen",
)
PER_RECORD = "policy_tokens"  # adds up to the tokens that were measured
_COUNTS = (*TOTALS, PER_RECORD)  # what counts tokens, the best first
UNITS = ((120.0, 1.0, " s"), (3 * 3600.0, 60.0, " min"), (4 * 86400.0, 3600.0, " h"), (np.inf, 86400.0, " d"))
CHECKPOINT = "checkpoint"  # what a script logs where it wrote one
ACTION = "action/"  # what the SDK records of what it did: action/WHAT/RULE, above 0 where it was done
TELLING = (CHECKPOINT, ACTION)  # what events are read from
MOST_EVENTS = 100  # of one kind, the latest
FEW = 10_000  # readings: a series with more tells of no single events
_Row = TypeVar("_Row", Series, Counted)


def needed(x: X) -> tuple[str, ...]:
    """The statistics that a figure over this axis is drawn with beside its own."""
    return (*TELLING, *TOTALS, PER_RECORD) if x == "tokens" else TELLING


def axes(rows: Sequence[_Row]) -> list[X]:
    """What the axis of this run's figures can count."""
    return ["step", "time", *(["tokens"] if _counter(rows) is not None else [])]  # type: ignore[list-item]  # mypy widens the starred list


def ruler(session: Session, run_id: str, rows: Sequence[Series], x: X) -> Ruler | None:
    """Of this axis; None for steps, and for a run without a reading. Invalid when the run counts no tokens."""
    if x == "step":
        return None
    if x == "time":
        return _time(session, run_id, rows)
    counter = _counter(rows)
    if counter is None:
        raise Invalid(
            "This run counts no tokens; log a running total as `tokens`, or choose x=step or x=time.",
            field="x",
        )
    return _tokens(session, run_id, counter)


def _time(session: Session, run_id: str, rows: Sequence[Series]) -> Ruler | None:
    numbers = [row for row in rows if row.axis is None and row.points] or [row for row in rows if row.points]
    if not numbers:
        return None
    clock = max(numbers, key=lambda row: row.points)
    data = shown(session, run_id, [clock], POINTS)[clock.series_id].columns
    if not len(data):
        return None
    steps, times = _once(data.steps, data.times)
    since = times - times[0]
    _, size, suffix = next(unit for unit in UNITS if since[-1] <= unit[0])
    return Ruler(suffix, steps, since / size)


def _tokens(session: Session, run_id: str, counter: Series) -> Ruler | None:
    if counter.statistic == PER_RECORD:
        found = heatmap(session, run_id, [counter.series_id], POINTS)
        if found is None:
            return None
        total = np.cumsum(np.nan_to_num(found.means[0]) * found.counts[0])
        return Ruler(" tokens", found.edges.astype(np.float64), np.concatenate([[0.0], total]))
    data = shown(session, run_id, [counter], POINTS)[counter.series_id].columns
    finite = np.isfinite(data.values)
    if not finite.any():
        return None
    return Ruler(" tokens", *_once(data.steps[finite], data.values[finite]))


def _counter(rows: Sequence[_Row]) -> _Row | None:
    of_it = [row for row in rows if row.statistic in _COUNTS and row.axis is None and row.points]
    return min(
        of_it, key=lambda row: (_COUNTS.index(row.statistic), len(row.labels), row.series_id), default=None
    )


def _once(
    steps: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One place per step, ascending; a clock or a counter that went back stands still meanwhile."""
    order = np.argsort(steps, kind="stable")
    at, first = np.unique(steps[order], return_index=True)
    return at.astype(np.float64), np.maximum.accumulate(values[order][first])


def events(
    session: Session, run_id: str, rows: Sequence[Series], first: int | None, last: int | None
) -> list[Event]:
    """Attempts from the second on, checkpoints, and what was done about alerts, within these steps."""
    found = [
        Event(one.first_step, "attempt", f"attempt {one.attempt}")
        for one in list_attempts(session, run_id)
        if one.attempt > 1 and one.first_step is not None
    ]
    telling = {row.series_id: row for row in rows if _tells(row)}
    for number, data in read(session, run_id, list(telling), first, last, superseded=False).items():
        name = telling[number].statistic
        done = np.isfinite(data.values) & (data.values > 0)
        steps = np.unique(data.steps[done])[-MOST_EVENTS:].tolist()
        if name == CHECKPOINT or name.startswith(ACTION + CHECKPOINT):
            found += [Event(step, "checkpoint", f"checkpoint at step {step:,}") for step in steps]
        else:
            words = name.removeprefix(ACTION).replace("/", " for ", 1)
            found += [Event(step, "action", f"{words} at step {step:,}") for step in steps]
    return sorted(found, key=lambda event: event.step)


def _tells(row: Series) -> bool:
    if row.axis is not None or not 0 < row.points <= FEW:
        return False
    return row.statistic == CHECKPOINT or (
        row.statistic.startswith(ACTION) and not row.statistic.endswith("/value")
    )
