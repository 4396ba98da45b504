"""Closed steps -> blocks in the spool, on a thread of its own: the training thread only appends to a bounded queue."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from foreshock.guard import guard
from foreshock.losses import Losses
from foreshock.spool.segment import Kind, Record
from foreshock.spool.spool import Spool

from .finisher import Finisher
from .monitor import Gauges
from .packing import HostRow, Packer, Writer
from .spectrometer import Spectrometer

if TYPE_CHECKING:
    from foreshock.measure.finish import StepRow

BLOCK_SECONDS = 0.25
BLOCK_BYTES = 64 * 2**10
# When much is waiting: each block lets go of the interpreter some times, and with a loop that never rests it takes 5 ms to get it back.
LARGE_BLOCK_BYTES = 2**20
FIRST_ROWS = 10  # recorded sooner: whoever has just started wants to see something
FIRST_SECONDS = 0.03
HEARTBEAT_SECONDS = 20.0  # an empty block says that a process whose steps take minutes is alive
MOST_READINGS = 1_000_000  # in the queue, when the disk hangs: some 60 MB
MANY_READINGS = 50_000  # in the queue: recorded at once
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
        gauges: Callable[[], Gauges] = Gauges,
    ) -> None:
        self._spool = spool
        self._losses = losses
        self._writer = writer
        self._opening = dict(opening)
        self._slow_facts = slow_facts
        self._wake_sender = wake_sender
        self._sender_seconds = sender_seconds
        self._thread_seconds = 0.0  # CPU time of the recorder's thread, as of its last round
        self._spectrometer = Spectrometer(losses)
        self._packer = Packer(
            writer,
            losses,
            device_drops=device_drops,
            other_seconds=self._other_seconds,
            gauges=gauges,
            queued=self._queued_bytes,
        )
        self._finisher = Finisher(self._spectrometer.solve, self._finished)
        self._emitted_at = time.monotonic()

        self._queue: deque[tuple[HostRow | StepRow, int]] = deque()
        # Readings, counted by whoever does it, so that the training thread takes no lock that we might be holding.
        self._put = self._dropped = 0
        self._taken = self._recorded = 0
        self._rows = 0  # taken so far
        self._hurry = threading.Event()  # to flush, or to close
        self._flushes: deque[threading.Event] = deque()
        self._awaited: list[
            tuple[threading.Event, int]
        ] = []  # flushes, and how many rows must be finished for each
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

    @property
    def background_seconds(self) -> float:
        """CPU time of all our threads and processes beside the training thread, some moments ago."""
        return self._thread_seconds + self._other_seconds()

    # -- the training thread ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, row: HostRow | StepRow, readings: int) -> None:
        """Hand over one row. Takes microseconds.

        It wakes nobody unless much is waiting, the recorder looks by itself: on a busy machine the kernel runs a woken thread in
        its waker's stead.
        """
        self._queue.append((row, readings))
        self._put += readings
        if self._put - self._dropped - self._taken > MANY_READINGS and not self._hurry.is_set():
            self._hurry.set()
        while self._put - self._dropped - self._taken > MOST_READINGS or len(self._queue) > MOST_ROWS:
            try:
                _, lost = self._queue.popleft()
            except IndexError:  # the recorder was quicker
                break
            self._dropped += lost
            self._losses.add("recorder behind", lost)

    def flush(self, seconds: float) -> bool:
        """Wait until everything put so far is in the spool; False when that took longer."""
        done = threading.Event()
        self._flushes.append(done)
        self._hurry.set()
        return done.wait(seconds)

    def close(self, state: str, seconds: float) -> bool:
        """Record what was put, then the end of the attempt; False when that took longer."""
        self._state = state
        self._hurry.set()
        if self._done.wait(seconds / 2):
            return True
        self._spectrometer.interrupt()  # a matrix that takes long must not cost the rows behind it
        return self._done.wait(seconds / 2)

    def abandon(self) -> None:
        """In a fork's child: let go of what only the parent may use."""
        self._spectrometer.abandon()

    def give_up(self) -> int:
        """Count what was put and not recorded as lost; how many readings that are."""
        lost = self._put - self._dropped - self._recorded
        self._losses.add("never left memory", lost)
        return lost

    # -- the recorder's thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        with guard("opening the spool"):
            self._open()
        while True:
            soon = self._rows < FIRST_ROWS or self._awaited or self._state is not None
            self._hurry.wait(FIRST_SECONDS if soon else BLOCK_SECONDS)
            self._hurry.clear()  # before looking at anything that comes with a call
            state, flushes = self._state, [self._flushes.popleft() for _ in range(len(self._flushes))]
            with guard("recording"):
                self._record(self._take())
            self._recorded = self._taken - self._finisher.readings
            self._awaited += [(flushed, self._finisher.accepted) for flushed in flushes]
            self._thread_seconds = time.thread_time()
            if state is not None and not self._finisher.readings:
                with guard("closing the spool"):
                    self._close(state)
                with guard("ending the process for eigenvalues"):
                    self._finisher.close()
                    self._spectrometer.close()
                break
            for flushed, accepted in self._awaited:
                if accepted <= self._finisher.delivered:
                    flushed.set()
            self._awaited = [one for one in self._awaited if not one[0].is_set()]
        self._done.set()

    def _finished(self) -> None:
        """Nothing is left to finish; called by another thread."""
        if self._awaited or self._state is not None:
            self._hurry.set()

    def _other_seconds(self) -> float:
        return self._sender_seconds() + self._spectrometer.seconds + self._finisher.seconds

    def _queued_bytes(self) -> int:
        return 8 * (self._put - self._dropped - self._taken) + self._spool.memory_bytes

    def _take(self) -> list[tuple[HostRow | StepRow, int]]:
        """The rows that are waiting now."""
        rows = []
        for _ in range(len(self._queue)):
            try:
                row, readings = self._queue.popleft()
            except IndexError:  # dropped meanwhile
                break
            self._taken += readings
            rows.append((row, readings))
        self._rows += len(rows)
        return rows

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

    def _record(self, rows: list[tuple[HostRow | StepRow, int]]) -> None:
        much = sum(readings for _, readings in rows) > MANY_READINGS // 2
        most = LARGE_BLOCK_BYTES if much else BLOCK_BYTES
        for row, readings in [*rows, *self._finisher.take()]:
            if not isinstance(row, HostRow) and row.pending:
                self._finisher.put(row, readings)  # seconds, for a large matrix: nobody waits for it
                continue
            kept = False
            with guard("recording a row"):
                self._packer.add(row)
                kept = True
            if not kept:
                self._losses.add("our fault", readings)
            if self._packer.bytes >= most:
                self._emit()
        silent = time.monotonic() - self._emitted_at >= HEARTBEAT_SECONDS
        if self._packer.readings or silent:
            self._emit()

    def _emit(self) -> None:
        self._emitted_at = time.monotonic()
        for record in self._packer.pack():
            self._append(record)
