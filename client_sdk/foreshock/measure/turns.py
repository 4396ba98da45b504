"""Cadences in; which sites may record in the open step out. Sites that share a turn are chosen, and paid for, together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

ESSENTIAL = frozenset(("log", "policy"))  # kinds that stay when all else has to go
ONE_BY_ONE = frozenset(("activations", "attention", "features", "units"))
"""Kinds with many places, each with a turn of its own; the sites of any other kind share one."""
GRAINS = 4  # periods are rounded up to this part of the cadence
HORIZON = 256  # steps ahead, at most: what a turn costs, and what can be spent, will have changed by then


class Turn:
    """When one site, or all sites of a kind, may record next, and what that costs."""

    __slots__ = (
        "began",
        "cost",
        "essential",
        "kind",
        "last",
        "late",
        "minimum",
        "open",
        "period",
        "records",
        "spent",
    )

    def __init__(self, kind: str, minimum: int, step: int) -> None:
        self.kind = kind
        self.essential = kind in ESSENTIAL
        self.minimum = minimum  # steps between records, as the user wants it; 0: never
        self.period = minimum  # as it can be afforded
        self.open = False
        self.began = step
        self.last = step - minimum  # the step of the last record
        self.records = 0
        self.spent = 0.0  # seconds of the training thread since the last record
        self.cost = 0.0  # of a record, smoothed
        self.late = 0.0  # of this, what only the device knows


class Affords(Protocol):
    """Who decides which of the due turns are open in the next step."""

    @property
    def level(self) -> int:
        """How much may be measured: 0 is the essential alone."""

    def choose(self, due: list[Turn], step: int) -> int:
        """Put the due turns in order; how many of them, from the first on, may record."""

    def period(self, turn: Turn) -> int:
        """Steps from one record of this turn to the next."""


class Turns:
    """All turns of a run: open ones may record; one that has recorded is due again after its period, and then has to be chosen.

    An open turn stays open until something of it has been recorded: an optimizer that steps once in four steps is seen.
    """

    def __init__(self, every: Mapping[str, int], affords: Affords | None) -> None:
        self.step = 0  # the open one, counted from the start
        self._skipped = 0  # records that were due and could not be afforded, up to the last one of each turn
        self._every = every
        self._affords = affords
        self._shared: dict[str, Turn] = {}
        self._all: list[Turn] = []
        self._open: dict[str, int] = {}  # how many turns of a kind
        self._later: dict[int, list[Turn]] = {}  # step -> who has to be looked at then
        self._waiting: list[Turn] = []  # due, and not chosen yet

    def __iter__(self) -> Iterator[Turn]:
        return iter(self._all)

    def of(self, kind: str, step: int) -> Turn:
        """The turn of a new site; the first record of a new turn is not waited for."""
        if kind in ONE_BY_ONE:
            return self._new(kind, step)
        turn = self._shared.get(kind)
        if turn is None:
            turn = self._shared[kind] = self._new(kind, step)
        elif not turn.minimum and self._every[kind]:  # switched on meanwhile
            turn.minimum = turn.period = self._every[kind]
            self._put(turn, open=True)
        return turn

    def awaited(self, kind: str, step: int) -> bool:
        """True when a site of this kind may record in the open step."""
        if not self._every[kind]:
            return False
        if kind in ONE_BY_ONE:
            return self._open.get(kind, 0) > 0 or kind not in self._open
        return self.of(kind, step).open

    def close(self, recorded: Iterable[Turn], step: int) -> None:
        """These have recorded in the step that ends; open those whose turn it is in the one that begins, number ``step``."""
        for turn in recorded:
            if turn.open:
                self._put(turn, open=False)
                turn.records += 1
                turn.last = step - 1
                self._schedule(turn, step)
        self.step = step
        due = self._waiting
        for turn in self._later.pop(step, ()):
            if self._next(turn) > step:  # it has become dearer
                self._schedule(turn, step)
            else:
                due.append(turn)
        if due:
            chosen = len(due) if self._affords is None else self._affords.choose(due, step)
            for turn in due[:chosen]:
                self._put(turn, open=True)
                self._skipped += self._missed(turn)
            self._waiting = due[chosen:]

    @property
    def skipped(self) -> int:
        """Records that were due so far and could not be afforded."""
        return self._skipped + sum(self._missed(turn) for turn in tuple(self._all) if not turn.open)

    def hold_back(self) -> None:
        """Close every turn that is not essential until it is chosen again."""
        for turn in self._all:
            if turn.open and not turn.essential:
                self._put(turn, open=False)
                self._waiting.append(turn)

    def _missed(self, turn: Turn) -> int:
        return max(0, (self.step - turn.last) // turn.minimum - 1) if turn.records else 0

    def _new(self, kind: str, step: int) -> Turn:
        turn = Turn(kind, self._every[kind], step)
        self._all.append(turn)
        self._open.setdefault(kind, 0)
        if turn.minimum:
            if turn.essential or self._affords is None or self._affords.level > 0:
                self._put(turn, open=True)
            else:
                self._waiting.append(turn)
        return turn

    def _put(self, turn: Turn, *, open: bool) -> None:  # noqa: A002 (that is what it says)
        self._open[turn.kind] += int(open) - int(turn.open)
        turn.open = open

    def _schedule(self, turn: Turn, step: int) -> None:
        at = min(max(self._next(turn), step), step + HORIZON)
        self._later.setdefault(at, []).append(turn)

    def _next(self, turn: Turn) -> int:
        wanted = turn.minimum if self._affords is None else self._affords.period(turn)
        grain = max(1, turn.minimum // GRAINS)  # so that places of like cost stay together
        turn.period = turn.minimum + grain * max(0, math.ceil((wanted - turn.minimum) / grain))
        return turn.last + turn.period
