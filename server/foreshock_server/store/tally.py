"""Stored rows -> what each series counts about itself, in one statement however many series a frame has.

The statement is written for each driver by hand: with 300 series the same through SQLAlchemy's parameters took
two to three times as long, and this runs for every block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_NAMES = ("series_id", "points", "nonfinite", "first_step", "last_step", "last_value", "last_text")


def _statement(names: Mapping[str, str]) -> str:
    return _CHANGE.format(newer=_NEWER.format(**names), **names)


_SQLITE = (
    _statement({name: f":{name}" for name in (*_NAMES, "attempt")})
    + " WHERE run_id = :run_id AND series_id = :series_id"
)
_POSTGRESQL = (
    _statement({**{name: f"new.{name}" for name in _NAMES}, "attempt": "%(attempt)s"})
    + """
FROM unnest(%(series_id)s::bigint[], %(points)s::bigint[], %(nonfinite)s::bigint[], %(first_step)s::bigint[],
            %(last_step)s::bigint[], %(last_value)s::float8[], %(last_text)s::text[])
     AS new(series_id, points, nonfinite, first_step, last_step, last_value, last_text)
WHERE series.run_id = %(run_id)s AND series.series_id = new.series_id"""
)


def tally(
    session: Session, run_id: str, attempt: int, groups: Sequence[tuple[RowGroup, Sequence[int]]]
) -> int:
    """The number of readings in these row groups (each with the series ids of its frame), now counted in their series."""
    columns = _columns(groups)
    if not columns["series_id"]:
        return 0
    session.flush()
    connection = session.connection()
    fixed = {"run_id": run_id, "attempt": attempt}
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_POSTGRESQL, {**fixed, **columns})
    else:
        rows = zip(*(columns[name] for name in _NAMES), strict=True)
        connection.exec_driver_sql(
            _SQLITE, [{**fixed, **dict(zip(_NAMES, row, strict=True))} for row in rows]
        )
    return sum(columns["points"])


def _columns(groups: Sequence[tuple[RowGroup, Sequence[int]]]) -> dict[str, list[Any]]:
    """One entry per series with a reading, in the order of their ids."""
    parts = [_count(group, np.asarray(series_ids, np.int64)) for group, series_ids in groups]
    ids, points, nonfinite, first, last, value = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    series_id, place = np.unique(ids, return_inverse=True)
    total, wrong = np.zeros(len(series_id), np.int64), np.zeros(len(series_id), np.int64)
    np.add.at(total, place, points)
    np.add.at(wrong, place, nonfinite)
    earliest = np.full(len(series_id), np.iinfo(np.int64).max)
    np.minimum.at(earliest, place, first)
    order = np.lexsort((np.arange(len(ids)), last, place))  # of equal steps the later one
    latest = order[np.searchsorted(place[order], np.arange(len(series_id)), side="right") - 1]
    finite = np.isfinite(value[latest])
    values = value[latest].tolist()
    return {
        "series_id": series_id.tolist(),
        "points": total.tolist(),
        "nonfinite": wrong.tolist(),
        "first_step": earliest.tolist(),
        "last_step": last[latest].tolist(),
        "last_value": [one if good else None for one, good in zip(values, finite, strict=True)],
        "last_text": [None if good else number_text(one) for one, good in zip(values, finite, strict=True)],
    }


def _count(group: RowGroup, ids: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    present = np.ones(group.values.shape, np.bool_) if group.absent is None else ~group.absent
    there = present.any(axis=0)
    last = len(group.steps) - 1 - present[::-1].argmax(axis=0)
    counted = (
        ids,
        present.sum(axis=0),
        (present & ~np.isfinite(group.values)).sum(axis=0),
        group.steps[present.argmax(axis=0)],
        group.steps[last],
        group.values[last, np.arange(len(ids))].astype(np.float64),
    )
    return tuple(column[there] for column in counted)
