"""Blocks that wait -> stored by one thread per lane, all that wait in one transaction; each is answered after its commit.

A commit costs the same whether it holds one block or a hundred, so the more arrive the less each costs. SQLite has one writer and
one lane. PostgreSQL has several; a run belongs to one of them, so that its blocks stay in order and do not wait for each other's locks.
Several processes may store blocks of one run at once: the run's row is locked, in order of run ids, before anything else.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from foreshock_server.db import Database, is_away, is_full
from foreshock_server.errors import DatabaseAway, DomainError, StorageFull
from foreshock_server.ingest.service import Arrival, store_all
from foreshock_server.ingest.told import Told

log = logging.getLogger(__name__)

LANES = 4  # on PostgreSQL
MOST_BLOCKS = 1024  # in one transaction
MOST_BYTES = 16 * 2**20
AWAY_FOR = 2.0  # seconds after which a client may try again
FULL_FOR = 10.0
CLOSING_SECONDS = 5.0


@dataclass(frozen=True)
class Stored:
    """What the answer to a request says: of its last block, and what fires in the run."""

    ack: int
    alerts: list[dict[str, Any]]
    stored: int  # blocks that were not known
    points: int  # readings in them


@dataclass(frozen=True)
class _Item:
    run_id: str
    arrivals: Sequence[Arrival]
    size: int
    answer: Future[Stored] = field(default_factory=Future)
    came: float = field(default_factory=time.monotonic)


class Committer:
    """Takes validated blocks of any number of requests; how many may wait is up to who hands them over (see budget.py)."""

    def __init__(
        self,
        database: Database,
        publish: Callable[[str], None],
        *,
        lanes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._publish = publish
        self._clock = clock
        self._told = Told()
        number = lanes or (1 if database.is_sqlite else LANES)
        self._lanes = [_Lane(self._store, f"foreshock-ingest-{i}") for i in range(number)]
        self.blocks = 0  # stored so far, and in how many transactions
        self.groups = 0

    def submit(self, run_id: str, arrivals: Sequence[Arrival], size: int) -> Future[Stored]:
        """What becomes of these blocks of one run, once it is committed; raises the error of the first that is bad."""
        item = _Item(run_id, arrivals, size)
        item.answer.set_running_or_notify_cancel()  # whoever stops waiting does not stop the storing
        self._lanes[zlib.crc32(run_id.encode()) % len(self._lanes)].put(item)
        return item.answer

    def waiting(self) -> int:
        """How many blocks wait or are being stored."""
        return sum(len(item.arrivals) for lane in self._lanes for item in lane.items())

    def age(self) -> float:
        """For how many seconds the oldest of them has."""
        now = time.monotonic()
        return max((now - item.came for lane in self._lanes for item in lane.items()), default=0.0)

    def close(self) -> None:
        """Store what waits, for some seconds; what is left then is answered with 503."""
        until = time.monotonic() + CLOSING_SECONDS
        for lane in self._lanes:
            lane.close()
        for lane in self._lanes:
            lane.join(until - time.monotonic())

    # -- the lanes' threads -------------------------------------------------------------------------------------

    def _store(self, items: Sequence[_Item]) -> None:
        """Answer each of them, whatever happens."""
        try:
            self._together(items)
            return
        except Exception as error:
            if not isinstance(error, SQLAlchemyError):
                log.exception("our fault, storing %d requests; each is tried alone", len(items))
        away: Exception | None = None
        for item in items:  # one of them spoiled it for all, or the database went away
            self._told.forget(item.run_id)  # what was to be stored was not
            if away is not None:
                item.answer.set_exception(away)
                continue
            try:
                self._together([item])
            except Exception as error:  # noqa: BLE001 (it is this request's answer)
                self._told.forget(item.run_id)
                answer = _translated(error)
                item.answer.set_exception(answer)
                away = answer if isinstance(answer, DatabaseAway) else None

    def _together(self, items: Sequence[_Item]) -> None:
        by_run: dict[str, list[_Item]] = {}
        for item in items:
            by_run.setdefault(item.run_id, []).append(item)
        answers: list[tuple[_Item, Stored | DomainError]] = []
        now = self._clock()
        with self._database.writing() as session:
            for run_id in sorted(by_run):  # in this order everywhere, so that two processes cannot deadlock
                answers += self._one_run(session, run_id, by_run[run_id], now)
        self.groups += 1
        grown = {item.run_id for item, answer in answers if isinstance(answer, Stored) and answer.stored}
        for run_id in grown:  # nothing from here on may fail: all of it is stored
            self._publish(run_id)
        for item, answer in answers:
            if isinstance(answer, Stored):
                self.blocks += answer.stored
                item.answer.set_result(answer)
            else:
                item.answer.set_exception(answer)

    def _one_run(
        self, session: Session, run_id: str, items: Sequence[_Item], now: float
    ) -> list[tuple[_Item, Stored | DomainError]]:
        arrivals = [arrival for item in items for arrival in item.arrivals]
        change = store_all(session, run_id, arrivals, now=now)
        firing = self._told.firing(session, run_id, change.before, change.after) if change.after else []
        outcomes = iter(change.outcomes)
        answers: list[tuple[_Item, Stored | DomainError]] = []
        for item in items:
            own = [next(outcomes) for _ in item.arrivals]
            bad = next((one for one in own if isinstance(one, DomainError)), None)
            good = [one for one in own if not isinstance(one, DomainError)]
            if bad is not None:
                answers.append((item, bad))
                continue
            blocks, points = sum(one.stored for one in good), sum(one.points for one in good)
            answers.append((item, Stored(good[-1].ack, firing, blocks, points)))
        return answers


class _Lane:
    """A queue with a thread that begins with the first item and is begun anew should it ever die."""

    def __init__(self, store: Callable[[Sequence[_Item]], None], name: str) -> None:
        self._store = store
        self._name = name
        self._changed = threading.Condition()
        self._items: deque[_Item] = deque()
        self._working: Sequence[_Item] = ()
        self._closing = False
        self._thread: threading.Thread | None = None

    def items(self) -> list[_Item]:
        """What waits or is being stored."""
        with self._changed:
            return [*self._working, *self._items]

    def put(self, item: _Item) -> None:
        with self._changed:
            if self._closing:
                raise DatabaseAway("The server is ending; send it again.", retry_after=AWAY_FOR)
            self._items.append(item)
            if self._thread is None:
                self._begin()
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, seconds))
        with self._changed:
            left, self._items = list(self._items), deque()
        _fail(left)

    def _work(self) -> None:
        try:
            while some := self._next():
                try:
                    self._store(some)
                finally:  # also when something ends this thread: nobody may wait forever
                    with self._changed:
                        self._working = ()
                    _fail(some)
        finally:
            with self._changed:
                self._thread = None
                if self._items and not self._closing:
                    self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def _next(self) -> Sequence[_Item]:
        """All that wait, as far as they fit into one transaction; nothing: it is over."""
        with self._changed:
            while not self._items and not self._closing:
                self._changed.wait()
            some: list[_Item] = []
            blocks = size = 0
            while self._items and not (
                some and (blocks + len(self._items[0].arrivals) > MOST_BLOCKS or size > MOST_BYTES)
            ):
                some.append(self._items.popleft())
                blocks += len(some[-1].arrivals)
                size += some[-1].size
            self._working = some
            return some


def _fail(items: Sequence[_Item]) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(
                DatabaseAway("The server could not store it; send it again.", retry_after=AWAY_FOR)
            )


def _translated(error: Exception) -> Exception:
    if is_full(error):
        return StorageFull(retry_after=FULL_FOR)
    if is_away(error):
        log.warning("the database does not answer: %s", str(error).splitlines()[0])
        return DatabaseAway(retry_after=AWAY_FOR)
    return error
