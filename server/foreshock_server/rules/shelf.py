"""Row groups of one frame -> the columns that must be judged now; the others' readings lie on a shelf until somebody asks.

Most readings of a healthy run change nothing that anybody could see: the machine is ok, and too few of the last ones lie beyond
the line for their median to be. Detectors say where that line is (`Detector.quiet`), one comparison finds it for all columns, and
what was put aside is judged later in one go with the same result (`Watch.pass_over`). Readings from before a rule's warm-up has
passed are not even put aside: nothing looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from foreshock_server.rules.columns import Column
from foreshock_server.rules.state import State
from foreshock_server.rules.watch import Watch
from foreshock_server.store.rows import RowGroup

MOST_GROUPS = 256  # that lie on a shelf

T = TypeVar("T")

FindWatch = Callable[[Column], Watch]


@dataclass(frozen=True)
class _Group:
    steps: list[int]
    times: list[float]
    values: NDArray[np.floating[Any]]  # [rows, columns]


class Shelf:
    """Of one frame of one writer. `passed`: is told of each watch that what lay here has changed."""

    def __init__(
        self, attempt: int, columns: Sequence[Column], watch: FindWatch, passed: Callable[[Watch], None]
    ) -> None:
        self.watched = frozenset((one.rule.id, one.series_id) for one in columns)
        self._others: list[Shelf] = []  # with a watch of this one
        self._attempt = attempt
        self._columns = columns
        self._positions = np.array([one.position for one in columns], np.intp)
        self._watch = watch
        self._passed = passed
        size = len(columns)
        self._awake = np.ones(size, np.bool_)  # each of its readings is judged as it comes
        self._low, self._high = np.full(size, -np.inf), np.full(size, np.inf)
        self._window, self._most = np.ones(size, np.intp), np.zeros(size, np.intp)
        self._warmup = np.zeros(size, np.int64)  # of what is awake: readings at earlier steps change nothing
        self._outside = np.zeros((1, size), np.bool_)  # of the last readings, as many as the widest window
        self._groups: list[_Group] = []
        self._begin = np.zeros(size, np.intp)  # the first of these groups that a column has not judged

    @property
    def is_in_use(self) -> bool:
        """True while readings of some column may lie here."""
        return not bool(self._awake.all())

    def meet(self, others: Iterable[Shelf]) -> None:
        """These are there too."""
        for other in others:
            if not other.watched.isdisjoint(self.watched):
                self._others.append(other)
                other._others.append(self)

    def wake_others(self) -> None:
        """Those with a watch of this one, which is about to judge it."""
        for other in self._others:
            if other.is_in_use:
                other.wake()

    def take(self, group: RowGroup, *, whole: bool = False) -> list[int]:
        """The numbers of the columns whose readings of this group are to be judged now; their earlier ones have been.

        `whole`: all of them, as some of their readings do not count.
        """
        values = group.values[:, self._positions]
        if whole or (group.absent is not None and group.absent[:, self._positions].any()):
            self.wake()
            return list(range(len(self._columns)))
        finite = np.isfinite(values)
        outside = ~((values >= self._low) & (values <= self._high) & finite)
        wanted = self._awake | ~finite.all(axis=0)
        if outside.any():
            wanted |= self._beyond(outside)
        self._outside = np.concatenate([self._outside, outside])[-len(self._outside) :]
        early = self._awake & (group.steps.max() < self._warmup)
        found: list[int] = np.flatnonzero(wanted & ~early).tolist()
        for one in found:
            self._pass(one)
        if not wanted.all():
            self._groups.append(_Group(group.steps.tolist(), group.times.tolist(), values))
            self._begin[wanted] = len(self._groups)
            if len(self._groups) >= MOST_GROUPS:
                self.clear()
        return found

    def judged(self, one: int, watch: Watch) -> None:
        """After the readings of such a column: may the next ones lie here?"""
        calm = watch.machine.state is State.OK and not watch.waiting
        quiet = watch.rule.detector.quiet(watch.memory) if calm else None
        if quiet is not None and quiet.is_beyond:
            quiet = None
        self._awake[one] = quiet is None
        self._warmup[one] = 0 if watch.waiting else watch.rule.policy.warmup_steps
        if quiet is None:
            return
        self._low[one], self._high[one] = quiet.low, quiet.high
        self._window[one], self._most[one] = quiet.window, quiet.most
        if quiet.window > len(self._outside):
            missing = np.zeros((quiet.window - len(self._outside), len(self._columns)), np.bool_)
            self._outside = np.concatenate([missing, self._outside])
        recent = np.array(quiet.recent)
        self._outside[:, one] = False
        if len(recent):
            self._outside[-len(recent) :, one] = ~((recent >= quiet.low) & (recent <= quiet.high))

    def clear(self) -> None:
        """Judge all that lies here."""
        for one in range(len(self._columns)):
            self._pass(one)
        self._groups.clear()
        self._begin[:] = 0

    def wake(self) -> None:
        """The same, and let nothing lie here until its column was judged anew: others have judged, or will judge, its series."""
        self._warmup[:] = 0
        if not self._awake.all():
            self.clear()
            self._awake[:] = True

    def _beyond(self, outside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each column, whether more of the last readings than may be lie outside, after any of these rows."""
        before = len(self._outside)
        total = np.cumsum(np.concatenate([self._outside, outside]), axis=0)
        total = np.concatenate([np.zeros((1, total.shape[1]), total.dtype), total])
        after = np.arange(before + 1, before + 1 + len(outside))[:, None]
        columns = np.arange(total.shape[1])[None, :]
        inside = total[after, columns] - total[after - self._window[None, :], columns]
        found: NDArray[np.bool_] = (inside > self._most).any(axis=0)
        return found

    def _pass(self, one: int) -> None:
        waiting = self._groups[self._begin[one] :]
        if not waiting:
            return
        self._begin[one] = len(self._groups)
        watch = self._watch(self._columns[one])
        values = np.concatenate([group.values[:, one] for group in waiting])
        steps, times = _joined(group.steps for group in waiting), _joined(group.times for group in waiting)
        watch.pass_over(steps, times, values, attempt=self._attempt)
        self._passed(watch)


def _joined(parts: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(parts))
