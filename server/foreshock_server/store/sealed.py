"""Clock, segment and rollup rows: written for each driver by hand, and segments read back as readings in the order of recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.models import Clock as ClockTable
from foreshock_server.models import Rollup, Segment
from foreshock_server.store.gather import Gathered
from foreshock_server.store.segments import Clock, decode_clock, decode_values

WriterKey = tuple[int, str]  # attempt, writer


class ClockRow(NamedTuple):
    """A row of `clocks`, in the order of its columns."""

    run_id: str
    attempt: int
    writer: str
    frame: int
    first_seq: int
    last_seq: int
    rows: int
    first_step: int
    last_step: int
    first_time: float
    last_time: float
    data: bytes


class SegmentRow(NamedTuple):
    """A row of `segments`, in the order of its columns."""

    run_id: str
    series_id: int
    attempt: int
    writer: str
    frame: int
    first_seq: int
    first_step: int
    last_step: int
    points: int
    nonfinite: int
    low: float | None
    high: float | None
    data: bytes


class RollupRow(NamedTuple):
    """A row of `rollups`, in the order of its columns."""

    run_id: str
    series_id: int
    attempt: int
    level: int
    chunk: int
    data: bytes


_KINDS: Mapping[type[Any], tuple[str, str]] = {
    ClockRow: ("clocks", "text int8 text int8 int8 int8 int8 int8 int8 float8 float8 bytea"),
    SegmentRow: ("segments", "text int8 int8 text int8 int8 int8 int8 int8 int8 float8 float8 bytea"),
    RollupRow: ("rollups", "text int8 int8 int8 int8 bytea"),
}  # table, and PostgreSQL's types of the columns


def insert(session: Session, rows: Sequence[ClockRow] | Sequence[SegmentRow] | Sequence[RollupRow]) -> None:
    """Store rows of one kind; a rollup replaces the one of its key. Through SQLAlchemy's parameters it took three times as long."""
    if not rows:
        return
    session.flush()
    connection = session.connection()
    kind = type(rows[0])
    table, types = _KINDS[kind]
    columns = ", ".join(kind._fields)
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(kind._fields))
        connection.exec_driver_sql(
            f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})",  # noqa: S608 (names of ours)
            [tuple(row) for row in rows],
        )
        return
    if kind is RollupRow:
        _forget(session, rows)  # type: ignore[arg-type]
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(types.split())
        for row in rows:
            copy.write_row(row)


def _forget(session: Session, rows: Sequence[RollupRow]) -> None:
    """Make room on PostgreSQL, where COPY replaces nothing."""
    together: dict[tuple[str, int, int, int], list[int]] = {}
    for row in rows:
        together.setdefault((row.run_id, row.attempt, row.level, row.chunk), []).append(row.series_id)
    for (run_id, attempt, level, chunk), series_ids in together.items():
        session.connection().exec_driver_sql(
            "DELETE FROM rollups WHERE run_id = %s AND attempt = %s AND level = %s AND chunk = %s"
            " AND series_id = ANY(%s)",
            (run_id, attempt, level, chunk, series_ids),
        )


def portions(series_ids: Iterable[int]) -> Iterator[list[int]]:
    """At most 500 at a time: SQLite bounds the parameters of one statement."""
    ordered = sorted(series_ids)
    for start in range(0, len(ordered), 500):
        yield ordered[start : start + 500]


def stored_rollups(
    session: Session, run_id: str, attempt: int, level: int, chunk: int, series_ids: Iterable[int]
) -> dict[int, bytes]:
    """`Rollup.data` by series, of those that have one."""
    found: dict[int, bytes] = {}
    for some in portions(series_ids):
        query = select(Rollup.series_id, Rollup.data).where(
            Rollup.run_id == run_id,
            Rollup.series_id.in_(some),
            Rollup.attempt == attempt,
            Rollup.level == level,
            Rollup.chunk == chunk,
        )
        found.update((number, data) for number, data in session.execute(query))
    return found


class _Piece(NamedTuple):
    """A segment, read."""

    first_seq: int
    frame: int
    readings: Gathered
    places: NDArray[np.int64]


def read_segments(
    session: Session,
    run_id: str,
    series_ids: Iterable[int],
    first: int | None = None,
    last: int | None = None,
    *,
    attempt: int | None = None,
    odd_only: bool = False,
) -> dict[int, dict[WriterKey, Gathered]]:
    """Readings at rest by series and writer, in the order of recording; whole segments, of those that touch first..last.

    `odd_only`: of segments that hold a reading that is not finite.
    """
    clocks = _Clocks(session, run_id)
    found: dict[int, dict[WriterKey, Gathered]] = {}
    for some in portions(series_ids):
        query = select(
            Segment.series_id,
            Segment.attempt,
            Segment.writer,
            Segment.frame,
            Segment.first_seq,
            Segment.data,
        ).where(Segment.run_id == run_id, Segment.series_id.in_(some))
        if first is not None:
            query = query.where(Segment.last_step >= first)
        if last is not None:
            query = query.where(Segment.first_step <= last)
        if attempt is not None:
            query = query.where(Segment.attempt == attempt)
        if odd_only:
            query = query.where(Segment.nonfinite > 0)
        rows = session.execute(query).all()
        clocks.need({tuple(row[1:5]) for row in rows})
        pieces: dict[tuple[int, WriterKey], list[_Piece]] = {}
        for series_id, of, writer, frame, seq, data in rows:
            clock = clocks.at[of, writer, frame, seq]
            values, there = decode_values(data, len(clock.steps))
            keep: Any = slice(None) if there is None else there
            readings = Gathered(clock.row_seqs[keep], clock.steps[keep], clock.times[keep], values)
            piece = _Piece(seq, frame, readings, clock.row_places[keep])
            pieces.setdefault((series_id, (of, writer)), []).append(piece)
        for (series_id, key), parts in pieces.items():
            found.setdefault(series_id, {})[key] = _joined(parts)
    return found


def count_resting(
    session: Session,
    run_id: str,
    series_ids: Iterable[int],
    first: int | None = None,
    last: int | None = None,
) -> dict[int, int]:
    """Readings that `read_segments` would give, by series that have any."""
    found: dict[int, int] = {}
    for some in portions(series_ids):
        query = select(Segment.series_id, func.sum(Segment.points)).where(
            Segment.run_id == run_id, Segment.series_id.in_(some)
        )
        if first is not None:
            query = query.where(Segment.last_step >= first)
        if last is not None:
            query = query.where(Segment.first_step <= last)
        found.update(
            (number, int(count)) for number, count in session.execute(query.group_by(Segment.series_id))
        )
    return found


def _joined(pieces: list[_Piece]) -> Gathered:
    pieces.sort(key=lambda piece: piece.first_seq)
    parts = [piece.readings for piece in pieces]
    if len(parts) == 1:
        return parts[0]
    joined = Gathered(
        np.concatenate([part.seqs for part in parts]),
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
    if len({piece.frame for piece in pieces}) == 1:
        return joined
    places = np.concatenate([piece.places for piece in pieces])
    order = np.lexsort((places, joined.seqs))  # frames took turns
    return Gathered(joined.seqs[order], joined.steps[order], joined.times[order], joined.values[order])


class _Clocks:
    """Clocks of one run, each read and decoded once however many series share it."""

    def __init__(self, session: Session, run_id: str) -> None:
        self._session = session
        self._run_id = run_id
        self.at: dict[tuple[int, str, int, int], Clock] = {}  # attempt, writer, frame, first seq

    def need(self, keys: Iterable[Any]) -> None:
        missing: dict[tuple[int, str, int], list[int]] = {}
        for attempt, writer, frame, seq in set(keys) - self.at.keys():
            missing.setdefault((attempt, writer, frame), []).append(seq)
        for (attempt, writer, frame), seqs in missing.items():
            for some in portions(seqs):
                query = select(ClockTable.first_seq, ClockTable.data).where(
                    ClockTable.run_id == self._run_id,
                    ClockTable.attempt == attempt,
                    ClockTable.writer == writer,
                    ClockTable.frame == frame,
                    ClockTable.first_seq.in_(some),
                )
                for seq, data in self._session.execute(query):
                    self.at[attempt, writer, frame, seq] = decode_clock(data)
