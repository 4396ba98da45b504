"""Merged columns -> a block of one more writer, `ranks`, in the caller's transaction with the cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.models import Merge, Writer
from foreshock_server.ranks.columns import Column
from foreshock_server.store import blocks
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_writer, lock_run, touch
from foreshock_server.store.series import NewFrame, NewSeries, frames, register_frames

WRITER = "ranks"
NEVER = -(2**63)  # before every step
Key = tuple[str, int]  # run, attempt


def store(
    session: Session,
    key: Key,
    before: tuple[int, int],
    after: tuple[int, int],
    columns: Sequence[Column],
    yardsticks: Mapping[str, Any],
    known: dict[tuple[str, ...], int],
    now: float,
) -> int:
    """The readings stored; 0, and nothing written, when another merger was faster or there is nothing to say."""
    run_id, attempt = key
    run = lock_run(session, run_id)
    row = session.get(Merge, key, populate_existing=True)
    if ((row.step, row.seen) if row is not None else (NEVER, 0)) != before:
        return 0
    if row is None:
        row = Merge(run_id=run_id, attempt=attempt)
        session.add(row)
    row.step, row.seen, row.yardsticks = after[0], after[1], dict(yardsticks)
    if not columns:
        return 0
    writer = ensure_writer(session, run_id, attempt, WRITER, now=now)
    groups = _groups(session, writer, columns, known)
    blocks.append(session, writer, writer.acked_seq + 1, groups, now)
    points = sum(group.present for group in groups)
    run.points += points
    writer.seen_at = now
    touch(session, run_id, now)
    return points


def _groups(
    session: Session, writer: Writer, columns: Sequence[Column], known: dict[tuple[str, ...], int]
) -> list[RowGroup]:
    """The columns with the same steps together, as frames of this writer; those that are not `known` yet are added to it."""
    together: dict[bytes, list[Column]] = {}
    for column in columns:
        together.setdefault(column.steps.tobytes(), []).append(column)
    groups = []
    for some in together.values():
        keys = tuple(column.series.key for column in some)
        if keys not in known:
            known[keys] = _frame(session, writer, [column.series for column in some])
        values = np.concatenate([_matrix(column.values) for column in some], 1).astype("<f4")
        absent = None
        if any(column.there is not None for column in some):
            gone = [
                np.zeros(column.values.shape, np.bool_) if column.there is None else ~column.there
                for column in some
            ]
            absent = np.concatenate([_matrix(one) for one in gone], 1)
        times = np.max(np.stack([column.times for column in some]), 0)
        groups.append(RowGroup(known[keys], some[0].steps, times, values, absent))
    return groups


def _matrix(values: NDArray[Any]) -> NDArray[Any]:
    """A column per entry."""
    return values.reshape(len(values), -1)


def _frame(session: Session, writer: Writer, series: Sequence[NewSeries]) -> int:
    """The number of the frame of these series: of one that exists, as one is enough, or of a new one."""
    place = (writer.run_id, writer.attempt, writer.writer)
    stored = frames(session, *place)
    number = max(stored, default=0) + 1
    register_frames(session, *place, [NewFrame(number, "f32", series)])
    fresh = frames(session, *place, [number])[number]
    same = next((one for one in stored.values() if one.series_ids == fresh.series_ids), None)
    if same is None:
        return number
    session.delete(fresh)
    session.flush()
    return same.frame
