"""Deleted runs and runs past their project's retention -> no rows, a portion at a time, so that ingest of others is not held up.

A run that was deleted is invisible at once (store/runs.py); what is done here can be killed at any moment and goes on where it
stood. Its row stays, emptied: a training process that still sends is told "deleted" instead of opening it anew. The space in an SQLite file is given back by sealing/sealer.py when it rests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, select

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.lifecycle.retention import DAY, expire
from foreshock_server.lifecycle.trash import empty_trash
from foreshock_server.models import Run
from foreshock_server.store.letters import forget_before
from foreshock_server.store.removal import CLEANED, IMPORTING, remove_some

ABANDONED_SECONDS = 3600.0  # an import that stored nothing for so long was killed
LOOK_EVERY = 60.0  # seconds between two looks for runs that are past their retention


class Cleaner:
    """Takes away what nobody may see any more. Any number of them may run."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        delivery_days: float = 90.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self.bus = bus
        self._delivery_days = delivery_days
        self._clock = clock
        self._looked_at = float("-inf")

    def run_once(self) -> int:
        """One portion; the number of rows or runs it was. Zero: there is nothing to do now."""
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            for run_id in [*expire(self.database, now), *empty_trash(self.database, now)]:
                self.bus.publish(run_id)
            with self.database.writing() as session:
                if forgotten := forget_before(session, now - self._delivery_days * DAY):
                    self._looked_at = float("-inf")  # there may be more
                    return forgotten
        with self.database.reading() as session:  # looking is free; SQLite's one writer is not
            run_id = session.scalar(_to_clean(now))
        if run_id is not None:
            with self.database.writing() as session:
                return remove_some(session, run_id)
        return 0


def _to_clean(now: float) -> Select[Any]:
    at_work = (Run.state == IMPORTING) & (Run.updated_at > now - ABANDONED_SECONDS)
    return (
        select(Run.id)
        .where(Run.deleted_at.is_not(None), Run.state != CLEANED, ~at_work)
        .order_by(Run.deleted_at)
        .limit(1)
    )
