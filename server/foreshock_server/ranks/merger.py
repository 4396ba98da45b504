"""Blocks of several ranks behind a durable cursor -> blocks of one more writer, `ranks`: merged statistics and distances.

The cursor is a step: up to it every rank that is alive has delivered. Computed from one moment of the database, then stored under
the run's lock, together with the cursor, if that still stands where it stood: a kill at any moment neither loses nor doubles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.models import Block, Merge, Writer
from foreshock_server.ranks.gathering import Readings, gather, labelled, rank_of
from foreshock_server.ranks.merging import disagreement, distances, merged, usual
from foreshock_server.store import blocks
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_writer, list_writers, lock_run, touch
from foreshock_server.store.series import NewFrame, NewSeries, frames, register_frames
from foreshock_server.store.tally import tally

WRITER = "ranks"
NEVER = -(2**53)  # before every step
PATIENCE = 60.0  # seconds after which a rank that says nothing holds the others up no longer
STEPS_AT_ONCE = 2000
BASELINE = 10  # steps that tell how far ranks usually are from each other; frozen then
DISAGREEMENT = ("rank_disagreement", "numerics")
Labels = tuple[tuple[str, str], ...]
_ABOUT = {
    "title": "Distance of this rank from the others, in multiples of the usual one",
    "low": 0.0,
    "high": None,
    "source": "upper quartile over all statistics of |value − median of the ranks| / its median over the first records",
}


@dataclass(frozen=True)
class _Column:
    series: NewSeries
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]


class Merger:
    """Merges what is new. Any number of them may run; of two with the same work one stores."""

    def __init__(self, database: Database, bus: Bus, *, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.bus = bus
        self._clock = clock

    def run_once(self) -> int:
        """Merge some of what is new in each run; the number of readings stored. Zero: there is nothing to do now."""
        with self.database.reading() as session:
            waiting = _waiting(session)
        return sum(self._merge(run_id, attempt) for run_id, attempt in waiting)

    def _merge(self, run_id: str, attempt: int) -> int:
        now = self._clock()
        with self.database.reading() as session:
            row = session.get(Merge, (run_id, attempt))
            before = (row.step, row.seen) if row is not None else (NEVER, 0)
            writers = [one for one in list_writers(session, run_id) if one.attempt == attempt]
            seen = sum(one.acked_seq for one in writers if rank_of(one.writer) is not None)
            reach = _delivered(session, run_id, attempt, writers, now)
            upto = max(reach.upto, before[0])
            first = session.scalar(
                select(func.min(Block.first_step)).where(
                    Block.run_id == run_id,
                    Block.attempt == attempt,
                    Block.last_step > before[0],
                    Block.writer != WRITER,
                )
            )
            if first is not None:
                upto = min(upto, max(first, before[0] + 1) + STEPS_AT_ONCE)
            if upto < reach.furthest:
                seen = before[1]  # there is more: look again, also if nothing new arrives
            if (upto, seen) == before:
                return 0
            readings = gather(session, run_id, attempt, writers, before[0], upto)
            yardsticks = dict(row.yardsticks) if row is not None else {}
        columns = _merged(readings) + _distances(readings, yardsticks)
        with self.database.writing() as session:
            stored = _store(session, (run_id, attempt), before, (upto, seen), columns, yardsticks, now)
        if stored:
            self.bus.publish(run_id)
        return stored


def _waiting(session: Session) -> list[tuple[str, int]]:
    """Attempts with several ranks, and blocks that were not looked at."""
    seen = func.sum(Writer.acked_seq)
    query = (
        select(Writer.run_id, Writer.attempt)
        .outerjoin(Merge, (Merge.run_id == Writer.run_id) & (Merge.attempt == Writer.attempt))
        .where(Writer.writer.like("r%-%"))
        .group_by(Writer.run_id, Writer.attempt, Merge.seen)
        .having(func.count() > 1, seen > func.coalesce(Merge.seen, 0))
        .limit(1000)
    )
    return [(run_id, attempt) for run_id, attempt in session.execute(query)]


class _Reach(NamedTuple):
    """How far the ranks of an attempt have delivered, in steps."""

    upto: int  # all that are alive
    furthest: int  # any


def _delivered(session: Session, run_id: str, attempt: int, writers: Sequence[Writer], now: float) -> _Reach:
    query = (
        select(Block.writer, func.max(Block.last_step))
        .where(Block.run_id == run_id, Block.attempt == attempt)
        .group_by(Block.writer)
    )
    last = {writer: step for writer, step in session.execute(query) if step is not None}
    reached: dict[int, int] = {}
    alive: set[int] = set()
    for writer in writers:
        rank = rank_of(writer.writer)
        if rank is None:
            continue
        ended = writer.final_seq is not None and writer.acked_seq >= writer.final_seq
        if not ended and now - writer.seen_at < PATIENCE:
            alive.add(rank)
        if writer.writer in last:
            reached[rank] = max(reached.get(rank, NEVER), last[writer.writer])
    furthest = max(reached.values(), default=NEVER)
    return _Reach(min((reached.get(rank, NEVER) for rank in alive), default=furthest), furthest)


def _merged(readings: Mapping[Any, Readings]) -> list[_Column]:
    columns = []
    for (_, labels), one in readings.items():
        steps, ranks = one.steps(), sorted(one.of_rank)
        if len(steps) == 0:
            continue
        values, there = _at(one, steps, ranks)
        weights = np.ones(values.shape)
        companion = _counter(readings, one.subject.row.about.get("weight"), labels)
        if companion is not None:
            weights, known = _at(companion, steps, ranks)
            weights = np.where(known & np.isfinite(weights), weights, 0.0)
        value = merged(one.subject.how, values, weights, there)
        columns.append(_Column(one.subject.as_series(), steps, _times(one, steps), value))
    return columns


def _counter(readings: Mapping[Any, Readings], statistic: str | None, labels: Labels) -> Readings | None:
    """What counts the rows of a mean: the statistic of that name with the most of these labels and no other."""
    fitting = [key for key in readings if key[0] == statistic and set(key[1]) <= set(labels)]
    return readings[max(fitting, key=lambda key: len(key[1]))] if fitting else None


def _distances(readings: Mapping[Any, Readings], yardsticks: dict[str, Any]) -> list[_Column]:
    """Of each rank; the yardsticks of statistics whose first steps these are are added to."""
    ranks = sorted({rank for one in readings.values() for rank in one.of_rank})
    steps = np.unique(np.concatenate([one.steps() for one in readings.values()] or [np.empty(0, np.int64)]))
    if len(steps) == 0:
        return []
    found, measures = [], []
    for one in readings.values():
        values, there = _at(one, steps, ranks)
        distance = distances(values, there)
        name = one.subject.as_series().key
        known = yardsticks.setdefault(name, [])
        if len(known) < BASELINE:
            spread = usual(distance, values, there)
            known += spread[np.isfinite(spread)][: BASELINE - len(known)].tolist()
        if known:
            found.append(distance)
            measures.append(float(np.median(known)))
    if not found:
        return []
    times = np.zeros(len(steps))
    for one in readings.values():
        times = np.maximum(times, _times(one, steps))
    share = disagreement(np.stack(found), np.array(measures))
    columns = []
    for j, rank in enumerate(ranks):
        there = ~np.isnan(share[:, j])
        if there.any():
            series = labelled(*DISAGREEMENT, {"rank": str(rank)}, "", _ABOUT)
            columns.append(_Column(series, steps[there], times[there], share[there, j]))
    return columns


def _at(
    one: Readings, steps: NDArray[np.int64], ranks: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.full((len(steps), len(ranks)), np.nan)
    there = np.zeros(values.shape, np.bool_)
    where = {int(step): i for i, step in enumerate(steps)}
    for j, rank in enumerate(ranks):
        for step, (_, value) in one.of_rank.get(rank, {}).items():
            i = where.get(step)
            if i is not None:
                values[i, j], there[i, j] = value, True
    return values, there


def _times(one: Readings, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """When the last rank closed each step."""
    each = ([readings.get(int(step), (0.0, 0.0))[0] for readings in one.of_rank.values()] for step in steps)
    return np.array([max(times) for times in each])


def _store(
    session: Session,
    key: tuple[str, int],
    before: tuple[int, int],
    after: tuple[int, int],
    columns: Sequence[_Column],
    yardsticks: Mapping[str, Any],
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
    groups = _groups(session, writer, columns)
    blocks.append(session, writer, writer.acked_seq + 1, [group for group, _ in groups], now)
    points = tally(session, run_id, attempt, groups)
    run.points += points
    writer.seen_at = now
    touch(session, run_id, now)
    return points


def _groups(session: Session, writer: Writer, columns: Sequence[_Column]) -> list[tuple[RowGroup, list[int]]]:
    """The columns with the same steps together, as frames of this writer."""
    together: dict[bytes, list[_Column]] = {}
    for column in columns:
        together.setdefault(column.steps.tobytes(), []).append(column)
    place = (writer.run_id, writer.attempt, writer.writer)
    known = frames(session, *place)
    number = max(known, default=0)
    groups = []
    for some in together.values():
        number += 1
        register_frames(session, *place, [NewFrame(number, "f32", [column.series for column in some])])
        fresh = frames(session, *place, [number])[number]
        same = next((one for one in known.values() if one.series_ids == fresh.series_ids), None)
        if same is not None:  # a frame of these series exists: one is enough
            session.delete(fresh)
            session.flush()
            number -= 1
        frame = same or fresh
        known[frame.frame] = frame
        values = np.stack([column.values for column in some], 1).astype("<f4")
        times = np.max(np.stack([column.times for column in some]), 0)
        groups.append((RowGroup(frame.frame, some[0].steps, times, values, None), list(frame.series_ids)))
    return groups
