"""Blocks that everybody has read -> segments, clocks and rollups, in one transaction with the cursor that says so.

Computed from one moment of the database and without holding anything; then, under the run's lock, stored only if no cursor of the
attempt has moved since. A kill at any moment leaves the blocks or what replaced them, never both and never neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from foreshock_server.db import Database
from foreshock_server.errors import UnknownRun
from foreshock_server.leases import AllMine, Leases
from foreshock_server.models import Block, Writer
from foreshock_server.sealing.cutting import Cut, Place, clock_row, cut, rollups, segment_rows, slabs
from foreshock_server.sealing.ready import Ready, Scales, ready
from foreshock_server.store.blocks import portion
from foreshock_server.store.layout import Slot
from foreshock_server.store.rollups import Buckets, chunk_of, decode, encode, itemsize_of, stacked, together
from foreshock_server.store.runs import list_writers, lock_run
from foreshock_server.store.sealed import ClockRow, RollupRow, SegmentRow, insert, stored_rollups
from foreshock_server.store.series import frames

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between two looks at what waits
MOST_POINTS = 8_000_000  # readings sealed at once
MOST_ROWS = 65_536  # steps of one segment, unless a single block holds more
ASIDE_SECONDS = 60.0  # a run that fails is tried again after so long, and stalls no other meanwhile
VACUUM_PAGES = 2_000  # of SQLite's file, given back at once

_Chunk = tuple[int, int]  # level, chunk


@dataclass
class _Batch:
    """What replaces the blocks of one writer up to a seq."""

    place: Place
    standing: dict[
        tuple[int, str], int
    ]  # sealed_seq of the attempt's writers, whose rollups are the same rows
    upto: int
    blocks: int
    clocks: list[ClockRow] = field(default_factory=list)
    segments: list[SegmentRow] = field(default_factory=list)
    rollups: dict[_Chunk, dict[int, bytes]] = field(default_factory=dict)  # by series


class Sealer:
    """Seals what is ready. Any number of them may run; of two with the same blocks one stores."""

    def __init__(
        self, database: Database, *, leases: Leases | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.database = database
        self._leases = leases or AllMine()
        self._clock = clock
        self._next_look = 0.0
        self._scales = Scales()
        self._aside: dict[str, float] = {}  # run -> when to try it again

    def run_once(self) -> int:
        """Seal some of what is ready; the number of blocks. Zero: there is nothing to do now."""
        now = self._clock()
        if now < self._next_look:
            return 0
        with self.database.reading() as session:
            waiting = [
                one
                for one in ready(session, now, scales=self._scales)
                if self._aside.get(one.run_id, now) <= now
            ]
        sealed = sum(self._guarded(one, now) for one in waiting if self._leases.mine(one.run_id))
        if not sealed:
            self._next_look = now + EVERY
            sealed = give_back(self.database)
        return sealed

    def seal(self, one: Ready) -> int:
        """Seal some of what is ready of this writer; the number of blocks, zero if another was faster."""
        with self.database.reading() as session:
            batch = _read(session, one)
        with self.database.writing() as session:
            return batch.blocks if _store(session, batch) else 0

    def _guarded(self, one: Ready, now: float) -> int:
        try:
            return self.seal(one)
        except DBAPIError:
            raise  # the database, not this run: whoever runs the loop waits and tries again
        except UnknownRun:
            return 0  # deleted meanwhile
        except Exception:
            self._aside[one.run_id] = now + ASIDE_SECONDS
            log.exception(
                "Run %s: its blocks could not be sealed. Nothing is lost, they stay as they came; "
                "they are tried again in %.0f seconds.",
                one.run_id,
                ASIDE_SECONDS,
            )
            return 0


def give_back(database: Database) -> int:
    """Pages of SQLite's file that sealing emptied, given back to the disk, some at a time; 0: few are left, or it is PostgreSQL."""
    if not database.is_sqlite:
        return 0
    with database.reading() as session:
        if _pragma(session, "freelist_count") < max(64, _pragma(session, "page_count") // 50):
            return 0
    with database.writing() as session:
        before = _pragma(session, "freelist_count")
        # As a script, which runs to its end: a statement without rows is taken one step, which is one page.
        driver: Any = session.connection().connection.driver_connection
        driver.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        return max(0, before - _pragma(session, "freelist_count"))


def _pragma(session: Session, name: str) -> int:
    return int(session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one())


def _read(session: Session, one: Ready) -> _Batch:
    place = Place(one.run_id, one.attempt, one.writer)
    found = portion(session, one.run_id, one.attempt, one.writer, one.sealed, one.upto, MOST_POINTS)
    blocks, upto = found.blocks, found.upto
    rows = np.cumsum([sum(len(group.steps) for group in block.rows) for block in blocks])
    fitting = max(1, int(np.searchsorted(rows, MOST_ROWS, side="right")))
    if fitting < len(blocks):
        blocks, upto = blocks[:fitting], blocks[fitting - 1].seq
    batch = _Batch(place, _standing(session, place), upto, len(blocks))
    numbers = {group.frame for block in blocks for group in block.rows}
    for piece in cut(blocks, frames(session, one.run_id, one.attempt, one.writer, numbers)):
        batch.clocks.append(clock_row(place, piece))
        batch.segments += segment_rows(place, piece)
        for some in slabs(piece):
            for level, buckets in rollups(piece, some).items():
                _roll_up(session, batch, piece, some, level, buckets)
    return batch


def _standing(session: Session, place: Place) -> dict[tuple[int, str], int]:
    return {
        (one.attempt, one.writer): one.sealed_seq
        for one in list_writers(session, place.run_id)
        if one.attempt == place.attempt
    }


def _roll_up(
    session: Session, batch: _Batch, piece: Cut, some: list[Slot], level: int, buckets: Buckets
) -> None:
    """Add the buckets to those that are stored, or waiting to be."""
    chunks = chunk_of(buckets.ids)
    for chunk in np.unique(chunks).tolist():
        news = buckets.of(chunks == chunk)
        pending = batch.rollups.setdefault((level, chunk), {})
        series_ids = [slot.series_id for slot in some]
        known = stored_rollups(
            session,
            batch.place.run_id,
            batch.place.attempt,
            level,
            chunk,
            (number for number in series_ids if number not in pending),
        )
        known.update((number, pending[number]) for number in series_ids if number in pending)
        if known:
            old = stacked(
                [decode(known[number], chunk) if number in known else None for number in series_ids]
            )
            news = together([old, news])
        own = piece.values.itemsize
        sizes = [max(own, itemsize_of(known[number])) if number in known else own for number in series_ids]
        for number, data in zip(series_ids, encode(news, level, sizes), strict=True):
            if data:
                pending[number] = data


def _store(session: Session, batch: _Batch) -> bool:
    """True when all of it is written; False, and nothing written, when another moved a cursor since."""
    place = batch.place
    run = lock_run(session, place.run_id)
    if run.deleted_at is not None or _standing(session, place) != batch.standing:
        return False
    insert(session, batch.clocks)
    insert(session, batch.segments)
    insert(
        session,
        [
            RollupRow(place.run_id, number, place.attempt, level, chunk, data)
            for (level, chunk), of_series in batch.rollups.items()
            for number, data in of_series.items()
        ],
    )
    own = {"synchronize_session": False}
    session.execute(
        delete(Block).where(
            Block.run_id == place.run_id,
            Block.attempt == place.attempt,
            Block.writer == place.writer,
            Block.seq <= batch.upto,
        ),
        execution_options=own,
    )
    session.execute(
        update(Writer)
        .where(Writer.run_id == place.run_id, Writer.attempt == place.attempt, Writer.writer == place.writer)
        .values(sealed_seq=batch.upto),
        execution_options=own,
    )
    return True
