"""Stored counts of series and the blocks behind them -> what each series counts now, so that nobody sees what is stale.

`Series` rows are brought up to date every few seconds (sealing/tallier.py). Whoever shows them asks here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from foreshock_server.models import Block, Series, Writer
from foreshock_server.store.layout import column_owners
from foreshock_server.store.rows import decode_rows
from foreshock_server.store.series import frames
from foreshock_server.store.series import list_series as stored_series
from foreshock_server.store.tally import Counts, Placed, count


def list_series(session: Session, run_id: str, statistics: Collection[str] | None = None) -> list[Series]:
    """The series of the run (of these statistics alone) in the order in which they appeared, counted up to now."""
    return up_to_date(session, stored_series(session, run_id, statistics))


class Counted(NamedTuple):
    """What a series is and counts, up to now. A tenth of the work of a `Series`, where thousands are read to be listed."""

    series_id: int
    key: str
    statistic: str
    family: str
    place: str
    labels: dict[str, Any]
    unit: str
    about: dict[str, Any]
    axis: dict[str, Any] | None
    first_step: int | None
    last_attempt: int | None
    last_step: int | None
    last_value: float | None
    last_text: str | None
    points: int
    nonfinite: int


def counted(session: Session, run_id: str) -> list[Counted]:
    """All series of the run in the order in which they appeared."""
    columns = (getattr(Series, name) for name in Counted._fields)
    query = select(*columns).where(Series.run_id == run_id).order_by(Series.series_id)
    counts = uncounted(session, run_id)
    news = {number: i for i, number in enumerate(counts.series_id.tolist())}
    rows = [Counted._make(row) for row in session.execute(query)]
    return [
        row if (i := news.get(row.series_id)) is None else row._replace(**_changes(row, counts, i))
        for row in rows
    ]


def up_to_date(session: Session, rows: Sequence[Series]) -> list[Series]:
    """These rows, counted up to now. They no longer belong to the session: nothing done to them is stored."""
    for row in rows:
        session.expunge(row)
    waiting = {run_id: uncounted(session, run_id) for run_id in {row.run_id for row in rows}}
    places = {
        run_id: {one: i for i, one in enumerate(counts.series_id.tolist())}
        for run_id, counts in waiting.items()
    }
    for row in rows:
        i = places[row.run_id].get(row.series_id)
        if i is not None:
            for name, value in _changes(row, waiting[row.run_id], i).items():
                set_committed_value(row, name, value)
    return list(rows)


def ranges(session: Session, run_id: str) -> dict[str, tuple[int, int]]:
    """The lowest and the highest of the first and last steps of each family's series that have a reading."""
    query = select(Series.series_id, Series.family, Series.first_step, Series.last_attempt, Series.last_step)
    counts = uncounted(session, run_id)
    news = {number: i for i, number in enumerate(counts.series_id.tolist())}
    found: dict[str, tuple[int, int]] = {}
    for number, family, first, attempt, last in session.execute(query.where(Series.run_id == run_id)):
        steps: list[int] = [] if first is None or last is None else [first, last]
        i = news.get(number)
        if i is not None:
            steps.append(int(counts.first_step[i]))
            if first is None or (attempt, last) <= (int(counts.attempt[i]), int(counts.last_step[i])):
                steps = [*steps[:1], int(counts.first_step[i]), int(counts.last_step[i])]
        if steps:
            low, high = found.get(family, (steps[0], steps[0]))
            found[family] = (min(low, *steps), max(high, *steps))
    return found


def uncounted(session: Session, run_id: str) -> Counts:
    """The counts over the blocks that the stored counts do not hold yet."""
    query = select(Writer.attempt, Writer.writer, Writer.tallied_seq).where(Writer.run_id == run_id)
    writers = session.execute(query.order_by(Writer.attempt, Writer.writer)).all()
    return count(
        one for attempt, writer, seq in writers for one in _placed(session, run_id, attempt, writer, seq)
    )


def _placed(session: Session, run_id: str, attempt: int, writer: str, seq: int) -> Iterator[Placed]:
    query = (
        select(Block.rows)
        .where(Block.run_id == run_id, Block.attempt == attempt, Block.writer == writer, Block.seq > seq)
        .order_by(Block.seq)
    )
    groups = [group for data in session.scalars(query) for group in decode_rows(data)]
    known = _series_ids(session, run_id, attempt, writer, {group.frame for group in groups})
    for group in groups:
        yield Placed(attempt, group, known[group.frame])


def _series_ids(
    session: Session, run_id: str, attempt: int, writer: str, numbers: Collection[int]
) -> dict[int, NDArray[np.int64]]:
    if not numbers:
        return {}
    return {
        number: column_owners(row)
        for number, row in frames(session, run_id, attempt, writer, numbers).items()
    }


def _changes(row: Series | Counted, counts: Counts, i: int) -> dict[str, Any]:
    """What the row counts with what is not in it yet."""
    first, last = int(counts.first_step[i]), int(counts.last_step[i])
    changes: dict[str, Any] = {
        "points": row.points + int(counts.points[i]),
        "nonfinite": row.nonfinite + int(counts.nonfinite[i]),
        "first_step": first if row.first_step is None else min(row.first_step, first),
    }
    attempt = int(counts.attempt[i])
    if row.last_attempt is None or (row.last_attempt, row.last_step or 0) <= (attempt, last):
        changes |= {
            "last_attempt": attempt,
            "last_step": last,
            "last_value": counts.last_value(i),
            "last_text": counts.last_text(i),
        }
    return changes
