"""Closed steps -> blocks in the spool, on a thread of its own: the training thread only appends to a bounded queue."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .blocks import Groups, HostFrames
from .guard import faults, guard
from .losses import Losses
from .segment import Kind, Record
from .series import FrameSpec, SeriesSpec
from .spool import Spool
from .wire import FrameNumbers, Values, pack_block, pack_frames

if TYPE_CHECKING:
    from .finish import StepRow

BLOCK_SECONDS = 0.25
BLOCK_BYTES = 64 * 2**10
FIRST_ROWS = 10  # recorded at once: whoever has just started wants to see something
HEARTBEAT_SECONDS = 20.0  # an empty block says that a process whose steps take minutes is alive
MOST_READINGS = 400_000  # in the queue, when the disk hangs
MOST_ROWS = 100_000

MONITOR = FrameSpec(
    (
        SeriesSpec(
            "foreshock_overhead",
            "monitor",
            "%",
            dtype="f64",
            title="time taken from the training thread",
            low=0.0,
        ),
        SeriesSpec(
            "foreshock_dropped", "monitor", "readings", dtype="f64", title="readings lost so far", low=0.0
        ),
        SeriesSpec(
            "foreshock_faults",
            "monitor",
            "faults",
            dtype="f64",
            title="faults of our own, kept from the training",
            low=0.0,
        ),
    )
)


class HostRow(NamedTuple):
    """One closed step as the training loop saw it."""

    step: int
    time: float
    logged: Mapping[str, Any]  # name -> a number of Python or numpy
    wall_seconds: float  # since the first step was closed
    training_seconds: float  # ours, on the training thread, in that time


@dataclass(frozen=True)
class Writer:
    """Who records: one process of one attempt."""

    attempt: int
    name: str  # r<rank>-<random>
    labels: tuple[tuple[str, str], ...] = ()  # on every series of this process


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
        self.seq = 0
        self._spool = spool
        self._losses = losses
        self._writer = writer
        self._opening = dict(opening)
        self._slow_facts = slow_facts
        self._wake_sender = wake_sender
        self._sender_seconds = sender_seconds
        self._device_drops = device_drops
        self._device_drops_counted = 0

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

        self._numbers = FrameNumbers()
        self._host_frames = HostFrames(losses, writer.labels)
        self._relabelled: dict[FrameSpec, FrameSpec] = {}
        self._device, self._host, self._monitor = Groups(), Groups(), Groups()
        self._definitions: list[Mapping[str, Any]] = []
        self._steps = 0
        self._last: HostRow | None = None  # of the block being built
        self._costs = (0.0, 0.0)  # wall and training seconds when the last block ended
        self._emitted_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="foreshock-recorder", daemon=True)

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
            state = self._state
            self._wake.clear()
            self._hurry.clear()
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
        body = {"state": state, "at": time.time(), "last_seq": {self._writer.name: self.seq}}
        told = {"attempt": self._writer.attempt, "body": body}
        self._append(Record(Kind.CLOSE, json.dumps(told).encode()))

    def _append(self, record: Record) -> None:
        self._spool.append(record)
        self._wake_sender()

    def _record(self, rows: deque[tuple[HostRow | StepRow, int]]) -> None:
        for row, readings in rows:
            done = False
            with guard("recording a row"):
                if isinstance(row, HostRow):
                    self._add_host(row)
                else:
                    self._add_device(row)
                done = True
            if not done:
                self._losses.add("our fault", readings)
            if self._device.bytes + self._host.bytes >= BLOCK_BYTES:
                self._emit()
        silent = time.monotonic() - self._emitted_at >= HEARTBEAT_SECONDS
        if self._device.readings or self._host.readings or silent:
            self._emit()

    def _add_host(self, row: HostRow) -> None:
        self._steps += 1
        self._last = row
        for frame, values, absent in self._host_frames.split(row.logged):
            self._add(self._host, frame, row, values, absent, alone=len(frame.series) == 1)

    def _add_device(self, row: StepRow) -> None:
        values = row.values
        if row.pending:
            values = values.copy()
            for work in row.pending:
                with guard(
                    "finishing a statistic"
                ):  # what it does not deliver stays NaN: its input was not finite
                    for position, value in work.finish().items():
                        values[position] = value
        self._add(self._device, self._labelled(row.frame), row, values, None, alone=False)

    def _add(
        self, groups: Groups, frame: FrameSpec, row: Any, values: Values, absent: Any, *, alone: bool
    ) -> None:
        parts, new = self._numbers.of(frame)
        if new:
            definitions = [part.on_wire() for part in parts]
            self._definitions.extend(definitions)
            self._append(Record(Kind.FRAMES, pack_frames(definitions)))
        start = 0
        for part in parts:
            cut = slice(start, start + len(part.series))
            start = cut.stop
            groups.add(
                part.number,
                row.step,
                row.time,
                values[cut],
                None if absent is None else absent[cut],
                alone=alone,
            )

    def _labelled(self, frame: FrameSpec) -> FrameSpec:
        """The frame with this process's labels on each series."""
        if not self._writer.labels:
            return frame
        known = self._relabelled.get(frame)
        if known is None:
            from dataclasses import replace

            series = (
                replace(one, labels=tuple(sorted({**dict(one.labels), **dict(self._writer.labels)}.items())))
                for one in frame.series
            )
            known = self._relabelled[frame] = FrameSpec(tuple(series))
        return known

    def _emit(self) -> None:
        """One block: what gathered, and what the monitor itself cost."""
        drops = self._device_drops()
        self._losses.add("device behind", drops - self._device_drops_counted)
        self._device_drops_counted = drops
        if self._last is not None:
            self._add_monitor(self._last)
        self._emitted_at = time.monotonic()
        wall, training = self._costs
        self.seq += 1
        rows = self._device.take() + self._host.take() + self._monitor.take()
        readings = sum(group.readings for group in rows)
        definitions, self._definitions = self._definitions, []
        payload = pack_block(
            attempt=self._writer.attempt,
            writer=self._writer.name,
            seq=self.seq,
            frames=definitions,
            rows=rows,
            lost=self._losses.by_reason(),
            cost={
                "steps": float(self._steps),
                "wall_seconds": wall,
                "training_seconds": training,
                "background_seconds": time.thread_time() + self._sender_seconds(),
            },
        )
        self._append(Record(Kind.BLOCK, payload, self.seq, readings))

    def _add_monitor(self, row: HostRow) -> None:
        """Overhead: our share of the time between the last step of the block before and the last step of this one."""
        wall, training = row.wall_seconds - self._costs[0], row.training_seconds - self._costs[1]
        self._costs = (row.wall_seconds, row.training_seconds)
        self._last = None
        overhead = 100.0 * training / wall if wall > 0 else 0.0
        values = np.array([overhead, self._losses.total, sum(faults().values())], np.float64)
        absent = np.array([wall <= 0, False, False])
        self._add(
            self._monitor, self._labelled(MONITOR), row, values, absent if wall <= 0 else None, alone=False
        )
