"""A run and its revision -> the alerts that its blocks are answered with, asked of the database only when they may have changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from sqlalchemy.orm import Session

from foreshock_server.store import alerts

MOST_RUNS = 10_000


class Told:
    """Remembers which runs had nothing firing, and at which revision: an alert that begins to fire moves the revision.

    What fires is asked each time: its reading moves on without being news.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet: OrderedDict[str, int] = OrderedDict()

    def firing(self, session: Session, run_id: str, before: int, after: int) -> list[dict[str, Any]]:
        """Every alert that fires now; `before` and `after` are the revisions that this transaction found and leaves."""
        with self._lock:
            if self._quiet.get(run_id) == before:
                self._quiet[run_id] = after
                return []
        found = alerts.firing(session, run_id)
        with self._lock:
            self._quiet.pop(run_id, None)
            if not found:
                self._quiet[run_id] = after
                while len(self._quiet) > MOST_RUNS:
                    self._quiet.popitem(last=False)
        return found

    def forget(self, run_id: str) -> None:
        """The transaction that asked was undone."""
        with self._lock:
            self._quiet.pop(run_id, None)
