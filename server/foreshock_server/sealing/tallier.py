"""Acknowledged blocks behind a durable cursor -> the counts of their series, every few seconds for a run in course.

Counting each block as it comes would update every series for every block. Computed from one moment of the database,
then stored under the run's lock if the cursors still stand: a kill at any moment neither loses nor doubles.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from foreshock_server.db import Database
from foreshock_server.errors import UnknownRun
from foreshock_server.leases import AllMine, Leases
from foreshock_server.models import Attempt, Writer
from foreshock_server.store.blocks import portion
from foreshock_server.store.layout import column_owners
from foreshock_server.store.runs import RUNNING, list_writers, lock_run
from foreshock_server.store.series import frames
from foreshock_server.store.tally import Counts, Placed, add, count
from foreshock_server.telemetry import of_run

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two rounds of one run while it goes on: readers count what is new themselves
ASIDE_SECONDS = 60.0  # a run that fails is tried again after so long, and stalls no other meanwhile
TOGETHER = 10  # runs in one transaction: with one for each they would queue for the writer's lock as often as blocks do
MOST_POINTS = 4_000_000  # readings counted at once
_REMEMBERED = 10_000  # runs whose last round is known

_Cursor = tuple[int, str]  # attempt, writer


@dataclass
class _Batch:
    """What was counted of one run: from where on, up to where."""

    counts: Counts
    before: dict[_Cursor, int] = field(default_factory=dict)
    after: dict[_Cursor, int] = field(default_factory=dict)
    blocks: int = 0
    more: bool = False


class Tallier:
    """Counts what is new. Any number of them may run; of two with the same blocks one stores."""

    def __init__(
        self, database: Database, *, leases: Leases | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.database = database
        self._leases = leases or AllMine()
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()  # run -> not before
        self.behind = False  # the last round left some of what was due

    def run_once(self) -> int:
        """Count some of what is new in each run that is due; the number of blocks. Zero: nothing is due now."""
        now = self._clock()
        self.behind = False
        with self.database.reading() as session:
            waiting = _waiting(session)
        due = sorted(  # as everybody locks runs that go into one transaction
            run_id
            for run_id, running in waiting.items()
            if (not running or self._due.get(run_id, now) <= now) and self._leases.mine(run_id)
        )
        return sum(self._together(due[i : i + TOGETHER], now) for i in range(0, len(due), TOGETHER))

    def tally(self, *run_ids: str) -> int:
        """Count some of what is new in these runs, all in one transaction; the blocks of those where none was faster."""
        batches: dict[str, _Batch] = {}
        for run_id in run_ids:
            with self.database.reading() as session:
                batch = _read(session, run_id)
            if batch.after:
                batches[run_id] = batch
        if not batches:
            return 0
        with self.database.writing() as session:
            stored = {run_id: _store(session, run_id, batch) for run_id, batch in batches.items()}
        for run_id, batch in batches.items():
            if stored[run_id] and batch.more:
                self.behind = True
            else:
                self._wait(run_id, self._clock() + EVERY)
        return sum(batch.blocks for run_id, batch in batches.items() if stored[run_id])

    def _together(self, run_ids: Sequence[str], now: float) -> int:
        if len(run_ids) > 1:
            try:
                return self.tally(*run_ids)
            except DBAPIError:
                raise
            except Exception as error:  # noqa: BLE001 (of one of them: alone it says which)
                log.debug("%d runs could not be counted together, now each alone: %s", len(run_ids), error)
        return sum(self._guarded(run_id, now) for run_id in run_ids)

    @of_run(str)
    def _guarded(self, run_id: str, now: float) -> int:
        try:
            return self.tally(run_id)
        except DBAPIError:
            raise  # the database, not this run: whoever runs the loop waits and tries again
        except UnknownRun:
            return 0  # deleted meanwhile
        except Exception:
            self._wait(run_id, now + ASIDE_SECONDS)
            log.exception(
                "Run %s: its new blocks could not be counted. Nothing is lost, and they are shown; "
                "they are tried again in %.0f seconds.",
                run_id,
                ASIDE_SECONDS,
            )
            return 0

    def _wait(self, run_id: str, until: float) -> None:
        self._due[run_id] = until
        self._due.move_to_end(run_id)
        while len(self._due) > _REMEMBERED:
            self._due.popitem(last=False)


def _waiting(session: Session) -> dict[str, bool]:
    """Runs with blocks that are not counted; True: all the attempts that brought them still run."""
    found: dict[str, bool] = {}
    for run_id, state in session.connection().execute(_WAITING):
        found[run_id] = found.get(run_id, True) and state == RUNNING
    return found


def _read(session: Session, run_id: str) -> _Batch:
    rows: list[Placed] = []
    batch = _Batch(count([]))
    room = MOST_POINTS
    for one in list_writers(session, run_id):
        if one.tallied_seq >= one.acked_seq:
            continue
        if room <= 0:
            batch.more = True
            break
        key = (one.attempt, one.writer)
        found = portion(session, run_id, *key, one.tallied_seq, one.acked_seq, room)
        groups = [group for block in found.blocks for group in block.rows]
        known = frames(session, run_id, *key, {group.frame for group in groups})
        rows += [Placed(one.attempt, group, column_owners(known[group.frame])) for group in groups]
        room -= sum(group.values.size for group in groups)
        batch.before[key], batch.after[key] = one.tallied_seq, found.upto
        batch.blocks += max(1, len(found.blocks))  # lost blocks count as work: the cursor moved
        batch.more = batch.more or found.upto < one.acked_seq
    batch.counts = count(rows)
    return batch


def _store(session: Session, run_id: str, batch: _Batch) -> bool:
    """True when all of it is written; False, and nothing written, when another moved a cursor since."""
    lock_run(session, run_id)
    standing = {(one.attempt, one.writer): one.tallied_seq for one in list_writers(session, run_id)}
    if any(standing.get(key) != seq for key, seq in batch.before.items()):
        return False
    for (attempt, writer), seq in batch.after.items():
        session.execute(
            update(Writer)
            .where(Writer.run_id == run_id, Writer.attempt == attempt, Writer.writer == writer)
            .values(tallied_seq=seq),
            execution_options={"synchronize_session": False},
        )
    add(session, run_id, batch.counts)
    return True


# Made once: to put it together takes longer than to run it.
_WAITING = (
    select(Writer.run_id, Attempt.state)
    .join(Attempt, (Attempt.run_id == Writer.run_id) & (Attempt.attempt == Writer.attempt))
    .where(Writer.tallied_seq < Writer.acked_seq)
    .order_by(Writer.seen_at)
    .limit(10_000)
)
