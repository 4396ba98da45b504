"""Hints: "run 7 grew". Losing one costs time and never data; whoever listens also looks by itself now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

Listener = Callable[[str], None]


class Bus(Protocol):
    """Carries run ids to whoever listens; never blocks, never raises."""

    def publish(self, run_id: str) -> None:
        """Say that something a viewer or a worker could see changed in this run."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener, from any thread, for each hint; the returned function ends it."""

    def close(self) -> None:
        """Stop listening."""


class LocalBus:
    """Within one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[int, Listener] = {}
        self._next = 0

    def publish(self, run_id: str) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener(run_id)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        with self._lock:
            self._next += 1
            number = self._next
            self._listeners[number] = listener

        def end() -> None:
            with self._lock:
                self._listeners.pop(number, None)

        return end

    def close(self) -> None:
        with self._lock:
            self._listeners.clear()
