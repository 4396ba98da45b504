"""Pairs of events around our work on a device in; the seconds between them, read when they have long passed, out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .turns import Turn

SPANS = 256  # on their way at once; what begins beyond that is not timed


class TimedEvent(Protocol):
    """A mark on a stream that knows when it was passed, as `torch.cuda.Event(enable_timing=True)`."""

    def record(self, stream: Any) -> None: ...

    def query(self) -> bool: ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this mark to that one, once both have passed."""


class Timing(Protocol):
    """What the stopwatch needs of an accelerator; the tests bring a twin whose events pass when told to."""

    def timed_event(self) -> TimedEvent: ...

    def main_stream(self) -> Any: ...

    def capturing(self) -> bool: ...


@dataclass
class Span:
    """One block of work on the device, and what is known of it on the host."""

    first: TimedEvent
    last: TimedEvent
    seconds: float = 0.0  # of the host
    turn: Turn | None = None


class Stopwatch:
    """Times blocks on the main stream without waiting for any: a span is read once its last event has passed.

    A block delays training by its kernels where the device is the slower side and by its launches where the host is. The
    larger of both bounds it, so a span yields what the device took beyond the host's own seconds.
    """

    def __init__(self, timing: Timing) -> None:
        self.untimed = 0  # blocks for which no pair was free
        self._timing = timing
        self._free: list[Span] = []
        self._flying: deque[Span] = deque()

    def begin(self) -> Span | None:
        """The block begins; None when it cannot be timed."""
        if self._timing.capturing():  # the events would become part of the user's graph
            return None
        if len(self._flying) >= SPANS:
            self.untimed += 1
            return None
        span = (
            self._free.pop() if self._free else Span(self._timing.timed_event(), self._timing.timed_event())
        )
        span.first.record(self._timing.main_stream())
        return span

    def end(self, span: Span, seconds: float, turn: Turn | None) -> None:
        """The block ends; it took so many seconds of the host, for this turn."""
        if self._timing.capturing():
            self._free.append(span)
            return
        span.last.record(self._timing.main_stream())
        span.seconds, span.turn = seconds, turn
        self._flying.append(span)

    def passed(self) -> Iterator[tuple[Turn | None, float]]:
        """For each block that the device has finished: for which turn, and its seconds beyond those of the host."""
        if self._timing.capturing():  # asking an event would break the user's capture
            return
        while self._flying and self._flying[0].last.query():
            span = self._flying.popleft()
            turn, span.turn = span.turn, None
            yield turn, max(0.0, span.first.elapsed_time(span.last) / 1e3 - span.seconds)
            self._free.append(span)
