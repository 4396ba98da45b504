"""The thread that keeps a courier going: woken by each record, patient while the server is away, gone at the deadline."""

from __future__ import annotations

import threading
import time

from foreshock.guard import guard

from .courier import FIRST_WAIT, LONGEST_WAIT, Courier, Found, Wait
from .transport import REQUEST_SECONDS


class Sender:
    """One daemon thread around one courier."""

    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self.seconds = 0.0  # CPU time of the thread
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._done = threading.Event()
        self._deadline = float("inf")  # of time.monotonic(), once closing
        self._hopeless = 2  # tries left, once closing, for a server that never answered
        self._thread = threading.Thread(target=self._work, name="foreshock-sender", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new to read."""
        self._wake.set()

    def close(self, deadline: float) -> bool:
        """Deliver what is left until this time.monotonic(); True when everything arrived and the attempt is closed."""
        self._deadline = deadline
        self._closing.set()
        self._wake.set()
        self.courier.hushed = not self._done.wait(max(0.0, deadline - time.monotonic()))
        return self.courier.closed

    def _work(self) -> None:
        found: Found | Wait = Found.NOTHING
        while found is not Found.CLOSED and time.monotonic() < self._deadline and self._hopeless > 0:
            found = Wait(LONGEST_WAIT, "our fault")
            with guard("sending"):
                self._wake.clear()
                left = self._deadline - time.monotonic()
                found = self.courier.turn(max(0.05, min(REQUEST_SECONDS, left)))
                self.seconds = time.thread_time()
            if isinstance(found, Wait):
                self._rest(found)
            elif found is Found.NOTHING:
                self._wake.wait(
                    None if self._deadline == float("inf") else max(0.0, self._deadline - time.monotonic())
                )
        self._done.set()

    def _rest(self, wait: Wait) -> None:
        """Wait, but not through the call to close: then one more try is due at once, and others until the deadline."""
        if not self._closing.is_set():
            self._closing.wait(wait.seconds)
            return
        if not self.courier.answered:
            self._hopeless -= 1  # nobody was ever there: do not keep the user waiting for the whole deadline
        seconds = wait.seconds if wait.asked else min(wait.seconds, FIRST_WAIT)
        time.sleep(max(0.0, min(seconds, self._deadline - time.monotonic())))
