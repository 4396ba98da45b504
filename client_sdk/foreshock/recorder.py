"""Closed steps -> blocks in the spool, on a thread of its own: the training thread only appends to a bounded queue."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .guard import guard
from .losses import Losses
from .packing import HostRow, Packer, Writer
from .segment import Kind, Record
from .spool import Spool

if TYPE_CHECKING:
    from .finish import StepRow

BLOCK_SECONDS = 0.25
BLOCK_BYTES = 64 * 2**10
FIRST_ROWS = 10  # recorded at once: whoever has just started wants to see something
HEARTBEAT_SECONDS = 20.0  # an empty block says that a process whose steps take minutes is alive
MOST_READINGS = 400_000  # in the queue, when the disk hangs
MOST_ROWS = 100_000


class Recorder:
    """Takes rows from the training thread without ever making it wait; what does not fit is dropped, oldest first, and counted."""

    def __init__(
        self,
        spool: Spool,
        losses: Losses,
        writer: Writer,
        opening: Mapping[str, Any],
        *,
        slow_facts: Callable[[], Mapping[str, Any]] = dict,
        wake_sender: Callable[[], None] = lambda: None,
        sender_seconds: Callable[[], float] = lambda: 0.0,
        device_drops: Callable[[], int] = lambda: 0,
    ) -> None:
        self._spool = spool
        self._losses = losses
        self._writer = writer
        self._opening = dict(opening)
        self._slow_facts = slow_facts
        self._wake_sender = wake_sender
        self._packer = Packer(writer, losses, device_drops=device_drops, other_seconds=sender_seconds)
        self._emitted_at = time.monotonic()

        self._lock = threading.Lock()
        self._queue: deque[tuple[HostRow | StepRow, int]] = deque()
        self._queued = 0  # readings
        self._in_hand = 0  # readings taken from the queue and not yet in the spool
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._early = FIRST_ROWS
        self._flushes: list[threading.Event] = []
        self._state: str | None = None  # once closing
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="foreshock-recorder", daemon=True)

    @property
    def seq(self) -> int:
        """Blocks packed so far."""
        return self._packer.seq

    @property
    def packed(self) -> int:
        """Readings packed so far."""
        return self._packer.packed

    # -- the training thread ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, row: HostRow | StepRow, readings: int) -> None:
        """Hand over one row. Takes microseconds."""
        with self._lock:
            self._queue.append((row, readings))
            self._queued += readings
            while self._queued > MOST_READINGS or len(self._queue) > MOST_ROWS:
                _, lost = self._queue.popleft()
                self._queued -= lost
                self._losses.add("recorder behind", lost)
            urgent = self._early > 0 or self._queued * 8 >= BLOCK_BYTES
        if not self._wake.is_set():
            self._wake.set()
        if urgent:
            self._hurry.set()

    def flush(self, seconds: float) -> bool:
        """Wait until everything put so far is in the spool; False when that took longer."""
        done = threading.Event()
        with self._lock:
            self._flushes.append(done)
        self._hurry.set()
        self._wake.set()
        return done.wait(seconds)

    def close(self, state: str, seconds: float) -> bool:
        """Record what was put, then the end of the attempt; False when that took longer."""
        self._state = state
        self._hurry.set()
        self._wake.set()
        return self._done.wait(seconds)

    def give_up(self) -> int:
        """Count what was taken over and not written as lost; how many readings that are."""
        with self._lock:
            lost = self._queued + self._in_hand
            self._queue.clear()
            self._queued = 0
        self._losses.add("never left memory", lost)
        return lost

    # -- the recorder's thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        with guard("opening the spool"):
            self._open()
        while True:
            if self._wake.wait(HEARTBEAT_SECONDS):
                self._hurry.wait(BLOCK_SECONDS)
            self._wake.clear()  # before looking at anything that comes with a call
            self._hurry.clear()
            state = self._state
            with self._lock:
                rows, self._queue = self._queue, deque()
                self._in_hand, self._queued = self._queued, 0
                self._early -= len(rows) if self._early > 0 else 0
                flushes, self._flushes = self._flushes, []
            with guard("recording"):
                self._record(rows)
            self._in_hand = 0
            if state is not None:
                with guard("closing the spool"):
                    self._close(state)
                break
            for flushed in flushes:
                flushed.set()
        self._done.set()

    def _open(self) -> None:
        self._append(Record(Kind.OPEN, json.dumps(self._opening).encode()))
        found = self._slow_facts()
        if found:
            body = self._opening["body"]
            self._opening["body"] = {**body, "info": {**body["info"], **found}}
            self._append(Record(Kind.OPEN, json.dumps(self._opening).encode()))

    def _close(self, state: str) -> None:
        body = {"state": state, "at": time.time(), "last_seq": {self._writer.name: self._packer.seq}}
        told = {"attempt": self._writer.attempt, "body": body}
        self._append(Record(Kind.CLOSE, json.dumps(told).encode()))

    def _append(self, record: Record) -> None:
        self._spool.append(record)
        self._wake_sender()

    def _record(self, rows: deque[tuple[HostRow | StepRow, int]]) -> None:
        for row, readings in rows:
            kept = False
            with guard("recording a row"):
                self._packer.add(row)
                kept = True
            if not kept:
                self._losses.add("our fault", readings)
            if self._packer.bytes >= BLOCK_BYTES:
                self._emit()
        silent = time.monotonic() - self._emitted_at >= HEARTBEAT_SECONDS
        if self._packer.readings or silent:
            self._emit()

    def _emit(self) -> None:
        self._emitted_at = time.monotonic()
        for record in self._packer.pack():
            self._append(record)
