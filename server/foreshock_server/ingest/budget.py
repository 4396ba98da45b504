"""Bytes that requests want to hold -> admitted, or TooFast (429) or Overloaded (503): memory is never what gives way."""

from __future__ import annotations

import threading

from foreshock_server.errors import Overloaded, TooFast

LEAST = 4096  # bytes that any request counts as, so that their number is bounded too
SHARE = 4  # one run may hold a quarter
RETRY_AFTER = 1.0  # seconds


class Budget:
    """The bytes of all requests between their first byte and their answer, in one process.

    A request larger than what it may have is admitted when it is the only one, so the bound is `most` plus one request.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._lock = threading.Lock()
        self._by_run: dict[str, int] = {}

    def open(self, run_id: str) -> Held:
        """What a request of this run holds: nothing yet."""
        return Held(self, run_id)

    def move(self, run_id: str, size: int) -> None:
        """Take so many bytes more, or give them back where negative; raises when there are not enough."""
        with self._lock:
            held = self._by_run.get(run_id, 0)
            if size > 0:
                if held and held + size > self.most // SHARE:
                    raise TooFast(retry_after=RETRY_AFTER)
                if self.used and self.used + size > self.most:
                    raise Overloaded(retry_after=RETRY_AFTER)
            self.used += size
            if held + size:
                self._by_run[run_id] = held + size
            else:
                self._by_run.pop(run_id, None)


class Held:
    """The part of one request."""

    def __init__(self, budget: Budget, run_id: str) -> None:
        self._budget = budget
        self._run_id = run_id
        self.size = 0

    def grow(self, size: int) -> None:
        """Hold at least so many bytes; TooFast or Overloaded, and as many as before, when they are not there."""
        more = max(size, LEAST) - self.size
        if more > 0:
            self._budget.move(self._run_id, more)
            self.size += more

    def release(self) -> None:
        """Give all of them back. Doing it twice is harmless."""
        size, self.size = self.size, 0
        if size:
            self._budget.move(self._run_id, -size)
