"""Rows that still want arithmetic in; the same rows complete out, in order, while those behind them go their own way."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from foreshock.guard import guard

if TYPE_CHECKING:
    from foreshock.measure.finish import StepRow
    from foreshock.measure.problems.problem import Solve

_FINISHING = guard("finishing a statistic")


class Finisher:
    """A queue of unfinished rows and the thread that works it off, begun at the first. All calls are the recorder thread's."""

    def __init__(self, solve: Solve, idle: Callable[[], None] = lambda: None) -> None:
        self._solve = solve
        self._idle = idle  # called, by the thread of ours, when nothing is left to do
        self._unfinished: SimpleQueue[tuple[StepRow, int] | None] = SimpleQueue()
        self._finished: deque[tuple[StepRow, int]] = deque()
        self._thread: threading.Thread | None = None
        self.accepted = self.delivered = 0  # rows
        self.readings = 0  # in the rows that are not delivered
        self.seconds = 0.0  # CPU time of the thread

    def put(self, row: StepRow, readings: int) -> None:
        """Take over a row with work pending."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="foreshock-finisher", daemon=True)
            self._thread.start()
        self.accepted += 1
        self.readings += readings
        self._unfinished.put((row, readings))

    def take(self) -> list[tuple[StepRow, int]]:
        """The rows that have been completed since the last call."""
        taken = [self._finished.popleft() for _ in range(len(self._finished))]
        self.delivered += len(taken)
        self.readings -= sum(readings for _, readings in taken)
        return taken

    def close(self) -> None:
        """Nothing more will be put."""
        if self._thread is not None:
            self._unfinished.put(None)

    def _work(self) -> None:
        while (item := self._unfinished.get()) is not None:
            row, readings = item
            values = row.values.copy()
            try:
                for work in row.pending:
                    with _FINISHING:  # what it does not deliver stays NaN, as when its input was not finite
                        for position, value in work.finish(self._solve).items():
                            values[position] = value
            finally:
                self._finished.append((replace(row, values=values, pending=()), readings))
            self.seconds = time.thread_time()
            if self._unfinished.empty():
                self._idle()
