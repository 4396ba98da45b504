"""Stored rows -> what each series counts about itself, and its rows brought up to that in one statement.

The statement is written for each driver by hand: through SQLAlchemy's parameters it took two to three times as long
(300 and 4,096 series).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.store.numbers import number_text
from foreshock_server.store.rows import RowGroup

# The latest reading is that of the highest attempt, then of the highest step.
_CHANGE = """UPDATE series SET
    points = series.points + {points},
    nonfinite = series.nonfinite + {nonfinite},
    first_step = CASE WHEN series.first_step < {first_step} THEN series.first_step ELSE {first_step} END,
    last_value = CASE WHEN {newer} THEN {last_value} ELSE series.last_value END,
    last_text = CASE WHEN {newer} THEN {last_text} ELSE series.last_text END,
    last_step = CASE WHEN {newer} THEN {last_step} ELSE series.last_step END,
    last_attempt = CASE WHEN {newer} THEN {attempt} ELSE series.last_attempt END"""
_NEWER = """(series.last_attempt IS NULL OR series.last_attempt < {attempt}
     OR (series.last_attempt = {attempt} AND series.last_step <= {last_step}))"""
_NAMES = ("series_id", "points", "nonfinite", "first_step", "attempt", "last_step", "last_value", "last_text")


def _statement(names: Mapping[str, str]) -> str:
    return _CHANGE.format(newer=_NEWER.format(**names), **names)


# One statement for many rows: sqlite3 gives the interpreter away for each step of one, and would queue for it as often.
_SQLITE_ROWS = 512
_SQLITE = (
    "WITH new({columns}) AS (VALUES {rows}) "
    + _statement({name: f"new.{name}" for name in _NAMES})
    + " FROM new WHERE series.run_id = ? AND series.series_id = new.series_id"
)
_POSTGRESQL = (
    _statement({name: f"new.{name}" for name in _NAMES})
    + """
FROM unnest(%(series_id)s::bigint[], %(points)s::bigint[], %(nonfinite)s::bigint[], %(first_step)s::bigint[],
            %(attempt)s::bigint[], %(last_step)s::bigint[], %(last_value)s::float8[], %(last_text)s::text[])
     AS new(series_id, points, nonfinite, first_step, attempt, last_step, last_value, last_text)
WHERE series.run_id = %(run_id)s AND series.series_id = new.series_id"""
)


@dataclass(frozen=True)
class Placed:
    """A row group with the attempt it belongs to and the series of its columns, that of a vector once per entry."""

    attempt: int
    group: RowGroup
    series_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Per series with a reading, by its id: how many, how many not finite, the lowest step, and the latest reading.

    Of a vector its entries are counted, and its latest reading is the mean of those that are there.
    """

    series_id: NDArray[np.int64]
    points: NDArray[np.int64]
    nonfinite: NDArray[np.int64]
    first_step: NDArray[np.int64]
    attempt: NDArray[np.int64]
    last_step: NDArray[np.int64]
    value: NDArray[np.float64]

    def last_value(self, i: int) -> float | None:
        """The latest reading of the i-th series, as `Series.last_value` has it."""
        return float(self.value[i]) if np.isfinite(self.value[i]) else None

    def last_text(self, i: int) -> str | None:
        """The same as `Series.last_text` has it."""
        return None if np.isfinite(self.value[i]) else number_text(float(self.value[i]))


def count(rows: Iterable[Placed]) -> Counts:
    """The counts over these rows, which come in the order in which they were recorded."""
    together: dict[tuple[int, bytes, int], list[Placed]] = {}
    for one in rows:
        key = (one.attempt, one.series_ids.tobytes(), one.group.values.itemsize)
        together.setdefault(key, []).append(one)
    parts = [_count(_joined(some), some[0]) for some in together.values()]
    empty = tuple(np.empty(0, kind) for kind in (*[np.int64] * 6, np.float64))
    ids, points, nonfinite, first, attempt, last, value = (
        np.concatenate(column) for column in zip(empty, *parts, strict=True)
    )
    series_id, place = np.unique(ids, return_inverse=True)
    total, wrong = np.zeros(len(series_id), np.int64), np.zeros(len(series_id), np.int64)
    np.add.at(total, place, points)
    np.add.at(wrong, place, nonfinite)
    earliest = np.full(len(series_id), np.iinfo(np.int64).max)
    np.minimum.at(earliest, place, first)
    order = np.lexsort((np.arange(len(ids)), last, attempt, place))  # of equal steps the later one
    latest = order[np.searchsorted(place[order], np.arange(len(series_id)), side="right") - 1]
    return Counts(series_id, total, wrong, earliest, attempt[latest], last[latest], value[latest])


def add(session: Session, run_id: str, counts: Counts) -> None:
    """Add these counts to the rows of the series. Call it under `lock_run`, with the cursor they were counted from."""
    if not len(counts.series_id):
        return
    session.flush()
    connection = session.connection()
    columns: dict[str, list[Any]] = {
        "series_id": counts.series_id.tolist(),
        "points": counts.points.tolist(),
        "nonfinite": counts.nonfinite.tolist(),
        "first_step": counts.first_step.tolist(),
        "attempt": counts.attempt.tolist(),
        "last_step": counts.last_step.tolist(),
        "last_value": counts.value.tolist(),
        "last_text": [None] * len(counts.series_id),
    }
    for i in np.flatnonzero(~np.isfinite(counts.value)).tolist():
        columns["last_value"][i], columns["last_text"][i] = counts.last_value(i), counts.last_text(i)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_POSTGRESQL, {"run_id": run_id, **columns})
    else:
        rows = list(zip(*(columns[name] for name in _NAMES), strict=True))
        for start in range(0, len(rows), _SQLITE_ROWS):
            some = rows[start : start + _SQLITE_ROWS]
            connection.exec_driver_sql(_sqlite(len(some)), (*chain.from_iterable(some), run_id))


@cache
def _sqlite(rows: int) -> str:
    row = f"({', '.join('?' * len(_NAMES))})"
    return _SQLITE.format(columns=", ".join(_NAMES), rows=", ".join([row] * rows))


def _joined(some: Sequence[Placed]) -> RowGroup:
    """Row groups of the same series as one, by step; of equal steps the later recorded comes last."""
    groups = [one.group for one in some]
    steps = np.concatenate([group.steps for group in groups])
    values = np.concatenate([group.values for group in groups])
    absent = None
    if any(group.absent is not None for group in groups):
        absent = np.concatenate(
            [
                np.zeros(group.values.shape, np.bool_) if group.absent is None else group.absent
                for group in groups
            ]
        )
    if np.any(steps[1:] < steps[:-1]):
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[order]
        absent = None if absent is None else absent[order]
    return RowGroup(groups[0].frame, steps, steps.astype(np.float64), values, absent)


def _count(group: RowGroup, of: Placed) -> tuple[NDArray[Any], ...]:
    ids = of.series_ids
    present = np.ones(group.values.shape, np.bool_) if group.absent is None else ~group.absent
    there = present.any(axis=0)
    last = len(group.steps) - 1 - present[::-1].argmax(axis=0)
    points, nonfinite = present.sum(axis=0), (present & ~np.isfinite(group.values)).sum(axis=0)
    first = np.where(there, present.argmax(axis=0), len(group.steps) - 1)
    begins = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    if len(begins) < len(ids):  # there are vectors: their entries together
        entries = np.diff(begins, append=len(ids))
        ids, there = ids[begins], np.logical_or.reduceat(there, begins)
        points, nonfinite = np.add.reduceat(points, begins), np.add.reduceat(nonfinite, begins)
        first = np.minimum.reduceat(first, begins)
        last = np.maximum.reduceat(np.where(present.any(axis=0), last, 0), begins)
        rows = np.repeat(last, entries)
        shown = present[rows, np.arange(len(rows))]
        value = np.where(shown, group.values[rows, np.arange(len(rows))], 0.0)
        with np.errstate(invalid="ignore", over="ignore"):
            total = np.add.reduceat(value.astype(np.float64), begins)
            value = total / np.maximum(np.add.reduceat(shown.astype(np.int64), begins), 1)
    else:
        value = group.values[last, np.arange(len(ids))].astype(np.float64)
    counted = (
        ids,
        points,
        nonfinite,
        group.steps[first],
        np.full(len(ids), of.attempt, np.int64),
        group.steps[last],
        value,
    )
    return tuple(column[there] for column in counted)
