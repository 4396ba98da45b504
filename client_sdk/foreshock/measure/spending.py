"""Blocks of our own work on the training thread in; the seconds they took, in all and for each turn they worked for, out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stopwatch import Span, Stopwatch
    from .turns import Turn


class Spending:
    """Adds up the seconds of the blocks that it surrounds; of nested ones the outermost counts.

    Within a block, ``bill`` says for which turn the work is done from here on. What stands before the first bill belongs
    to it, too: it prepared the tensors. A block without a bill is nobody's: closing a step, for instance.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = 0.0
        self.billed = 0.0  # of these, the part that a turn has paid for
        self.stopwatch: Stopwatch | None = None  # of the device, where there is one
        self._now = now
        self._depth = 0
        self._began = 0.0
        self._mark = 0.0  # up to here the block has been billed
        self._turn: Turn | None = None
        self._span: Span | None = None

    def __enter__(self) -> None:
        if self._depth == 0:
            if self.stopwatch is not None:
                self._span = self.stopwatch.begin()
            self._began = self._mark = self._now()
        self._depth += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        now = self._now()
        self.seconds += now - self._began
        turn, self._turn = self._turn, None
        if turn is not None:
            self._charge(turn, now)
        if self._span is not None and self.stopwatch is not None:
            self.stopwatch.end(self._span, now - self._began, turn)
            self._span = None

    def bill(self, turn: Turn) -> None:
        """What follows in this block is done for this turn."""
        if self._depth and turn is not self._turn:
            if self._turn is not None:
                self._charge(self._turn, self._now())
            self._turn = turn

    def settle(self, turn: Turn) -> None:
        """What was done since the last bill was for this turn."""
        if self._depth:
            self._charge(turn, self._now())
            self._turn = turn

    def _charge(self, turn: Turn, now: float) -> None:
        turn.spent += now - self._mark
        self.billed += now - self._mark
        self._mark = now
