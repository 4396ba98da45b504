"""Blocks of several ranks behind a durable cursor -> blocks of one more writer, `ranks`: merged statistics and distances.

The cursor is a step: up to it every rank that is alive has delivered. Computed from one moment of the database, then stored under
the run's lock, together with the cursor, if that still stands where it stood: a kill at any moment neither loses nor doubles.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.errors import RunDeleted, UnknownRun
from foreshock_server.leases import AllMine, Leases
from foreshock_server.models import Block, Merge, Run, Writer
from foreshock_server.ranks.columns import distance_columns, merged_columns
from foreshock_server.ranks.gathering import Catalogue, gather, rank_of
from foreshock_server.ranks.storing import NEVER, WRITER, Key, store
from foreshock_server.store.runs import list_writers
from foreshock_server.telemetry import of_run

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds after which a rank that says nothing holds the others up no longer
STEPS_AT_ONCE = 2000
CELLS_AT_ONCE = 2_000_000  # statistics x steps x ranks; some 60 bytes each while they are merged
ASIDE_SECONDS = 60.0  # an attempt that fails is tried again after so long, and stalls no other meanwhile
LOOK_AT_ALL = 60.0  # seconds between looks at runs in which nothing changed
ATTEMPTS_KNOWN = 500  # of those merged last: what they record is kept


@dataclass
class _Known:
    """Of an attempt, what need not be read again."""

    catalogue: Catalogue
    frames: dict[tuple[str, ...], int] = field(default_factory=dict)  # of WRITER, by the keys of its series


class Merger:
    """Merges what is new. Any number of them may run; of two with the same work one stores."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        leases: Leases | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self.bus = bus
        self._leases = leases or AllMine()
        self._clock = clock
        self._looked_at_all = -math.inf
        self._aside: dict[str, float] = {}  # run -> when to try it again
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    def run_once(self) -> int:
        """Merge some of what is new in each run; the number of readings stored. Zero: there is nothing to do now."""
        now = self._clock()
        # What changed lately, and now and then everything, as a clock may have been wrong.
        all_of_it = not 0 <= now - self._looked_at_all < LOOK_AT_ALL
        self._looked_at_all = now if all_of_it else self._looked_at_all
        with self.database.reading() as session:
            waiting = _waiting(session, -math.inf if all_of_it else now - 3 * PATIENCE)
        return sum(
            self._guarded(key, now)
            for key in waiting
            if self._aside.get(key[0], now) <= now and self._leases.mine(key[0])
        )

    @of_run(lambda key: key[0])
    def _guarded(self, key: Key, now: float) -> int:
        try:
            stored = self._merge(key, now)
        except Exception as error:
            self._known.pop(key, None)
            if isinstance(error, DBAPIError):
                raise  # the database, not this run: whoever runs the loop waits and tries again
            if not isinstance(error, (RunDeleted, UnknownRun)):  # since we looked
                self._aside[key[0]] = now + ASIDE_SECONDS
                log.exception(
                    "Run %s: its ranks could not be merged. Nothing is lost; it is tried again in %.0f seconds.",
                    key[0],
                    ASIDE_SECONDS,
                )
            return 0
        self._aside.pop(key[0], None)
        return stored

    def _merge(self, key: Key, now: float) -> int:
        run_id, attempt = key
        with self.database.reading() as session:
            row = session.get(Merge, key)
            before = (row.step, row.seen) if row is not None else (NEVER, 0)
            known = self._of(key, begun=row is not None)
            writers = [one for one in list_writers(session, run_id) if one.attempt == attempt]
            seen = sum(one.acked_seq for one in writers if rank_of(one.writer) is not None)
            known.catalogue.refresh(session)
            reach = _delivered(session, run_id, attempt, writers, before[0], now)
            upto = max(reach.upto, before[0])
            if reach.first is not None:
                ranks = len({rank_of(one.writer) for one in writers})
                portion = min(STEPS_AT_ONCE, CELLS_AT_ONCE // max(1, ranks * len(known.catalogue.subjects)))
                upto = min(upto, max(reach.first, before[0] + 1) + max(1, portion))
            if upto < reach.furthest:
                seen = before[1]  # there is more: look again, also if nothing new arrives
            if (upto, seen) == before:
                return 0
            table = gather(session, known.catalogue, attempt, writers, before[0], upto)
            yardsticks = dict(row.yardsticks) if row is not None else {}
        columns = merged_columns(table) + distance_columns(table, yardsticks)
        frames_before = dict(known.frames)
        with self.database.writing() as session:
            stored = store(session, key, before, (upto, seen), columns, yardsticks, frames_before, now)
        if stored:
            known.frames = frames_before
            self.bus.publish(run_id)
        return stored

    def _of(self, key: Key, *, begun: bool) -> _Known:
        """What does not change of an attempt; read anew where nothing was merged yet, as the run may be another by now."""
        if not begun or key not in self._known:
            self._known[key] = _Known(Catalogue(key[0]))
        self._known.move_to_end(key)
        while len(self._known) > ATTEMPTS_KNOWN:
            self._known.popitem(last=False)
        return self._known[key]


def _waiting(session: Session, since: float) -> list[Key]:
    """Attempts with several ranks, and blocks that were not looked at, of runs that changed since."""
    seen = func.sum(Writer.acked_seq)
    query = (
        select(Writer.run_id, Writer.attempt)
        .outerjoin(Merge, (Merge.run_id == Writer.run_id) & (Merge.attempt == Writer.attempt))
        .where(Writer.writer.like("r%-%"))
        .group_by(Writer.run_id, Writer.attempt, Merge.seen)
        .having(func.count() > 1, seen > func.coalesce(Merge.seen, 0))
    )
    if since > -math.inf:
        query = query.where(Writer.run_id.in_(select(Run.id).where(Run.updated_at >= since)))
    return [(run_id, attempt) for run_id, attempt in session.execute(query)]


class _Reach(NamedTuple):
    """How far the ranks of an attempt have delivered beyond the cursor, in steps."""

    upto: int  # all that are alive
    furthest: int  # any
    first: int | None  # where what is new begins; None: nothing is


def _delivered(
    session: Session, run_id: str, attempt: int, writers: Sequence[Writer], after: int, now: float
) -> _Reach:
    query = (
        select(Block.writer, func.max(Block.last_step), func.min(Block.first_step))
        .join(
            Writer,
            (Writer.run_id == Block.run_id)
            & (Writer.attempt == Block.attempt)
            & (Writer.writer == Block.writer),
        )
        .where(Block.run_id == run_id, Block.attempt == attempt, Block.last_step > after)
        .where(Block.seq <= Writer.acked_seq, Block.writer != WRITER)
        .group_by(Block.writer)
    )
    new = {
        writer: (last, first)
        for writer, last, first in session.execute(query)
        if last is not None and first is not None
    }
    reached: dict[int, int] = {}
    alive: set[int] = set()
    for writer in writers:
        rank = rank_of(writer.writer)
        if rank is None:
            continue
        ended = writer.final_seq is not None and writer.acked_seq >= writer.final_seq
        if not ended and now - writer.seen_at < PATIENCE:
            alive.add(rank)
        if writer.writer in new:
            reached[rank] = max(reached.get(rank, NEVER), new[writer.writer][0])
    furthest = max(reached.values(), default=NEVER)
    return _Reach(
        min((reached.get(rank, NEVER) for rank in alive), default=furthest),
        furthest,
        min((first for _, first in new.values()), default=None),
    )
