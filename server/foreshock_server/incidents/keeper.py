"""Open incidents whose time has come -> looked at again: a silence is over, nobody acknowledged, a digest is due.

Any number of them may run: each incident is looked at under its run's lock, and each message has an id computed from its turn, so
that two that come at once, or one that was killed, send nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import select

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.errors import RunDeleted, UnknownRun
from foreshock_server.models import Incident, Run
from foreshock_server.store import digests
from foreshock_server.store.incidents import OPEN
from foreshock_server.store.runs import lock_run, touch
from foreshock_server.store.telling import Book

AT_ONCE = 100  # incidents


class Keeper:
    """Does what no reading brings."""

    def __init__(self, database: Database, bus: Bus, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock

    def run_once(self) -> int:
        """The number of incidents that were looked at and digests that were made; zero: there is nothing to do now."""
        now = self._clock()
        due = (
            select(Incident.run_id, Incident.number)
            .join(Run, Run.id == Incident.run_id)
            .where(Incident.state == OPEN, Incident.next_at <= now, Run.deleted_at.is_(None))
            .order_by(Incident.next_at, Incident.run_id, Incident.number)
            .limit(AT_ONCE)
        )
        with self._database.reading() as session:  # looking is free; SQLite's one writer is not
            found = [(run_id, number) for run_id, number in session.execute(due)]
            channels = digests.due(session, now)
        looked = sum(self._look(run_id, number, now) for run_id, number in found)
        return looked + sum(self._collect(channel, now) for channel in channels)

    def _collect(self, channel: str, now: float) -> bool:
        with self._database.writing() as session:
            return digests.make(session, channel, now)

    def _look(self, run_id: str, number: int, now: float) -> bool:
        try:
            with self._database.writing() as session:
                run = lock_run(session, run_id)
                book = Book(session, run, now)
                incident = book.find(number)
                if incident is None or incident.next_at is None or incident.next_at > now:
                    return False  # somebody was faster
                told = incident.told_at
                book.review(incident)
                if incident.told_at != told:
                    touch(session, run_id, now)
        except (RunDeleted, UnknownRun):
            return False
        self._bus.publish(run_id)
        return True
