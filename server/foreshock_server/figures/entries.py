"""Vectors of a run -> what is drawn of each: its entries over stretches of steps. Read in portions that memory holds.

Shape suffixes: N readings, E entries, C stretches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.figures.scene import EntryMap
from foreshock_server.models import Series
from foreshock_server.query.vectors import course, ticks
from foreshock_server.store.attempts import LAST
from foreshock_server.store.columns import Columns, read
from foreshock_server.store.overview import FIRST

STRETCHES = 240  # more than a phone shows, fewer than a screen has pixels
AT_ONCE = 4_000_000  # values in memory

Drawn = tuple[Columns, EntryMap]  # the mean of the entries as a series of numbers, and all of them


def entry_maps(
    session: Session, run_id: str, rows: Sequence[Series], first: int | None = None, last: int | None = None
) -> dict[int, Drawn]:
    """By series id, of those that are vectors, first <= step <= last; what a later attempt read anew is left out."""
    found: dict[int, Drawn] = {}
    axes = {row.series_id: row.axis for row in rows if row.axis is not None}
    for some in _batches([row for row in rows if row.series_id in axes]):
        if sum(row.points for row in some) <= AT_ONCE:
            numbers = [row.series_id for row in some]
            data = read(session, run_id, numbers, first, last, superseded=False)
            found |= {number: _whole(axes[number], one) for number, one in data.items()}
        else:
            found |= {
                row.series_id: _in_portions(session, row, axes[row.series_id], first, last) for row in some
            }
    return found


class Stretches:
    """The mean of each entry's finite values per stretch of steps, from readings in any portions; and the latest of them."""

    def __init__(self, axis: Mapping[str, Any], edges: NDArray[np.float64]) -> None:
        self._axis = axis
        self._edges = edges
        shape = int(axis["size"]), len(edges) - 1
        self._sum_EC, self._count_EC = np.zeros(shape), np.zeros(shape, np.int64)
        self._latest: tuple[int, int] | None = None  # attempt, step
        self._last_E = np.full(shape[0], np.nan)

    def add(self, data: Columns) -> None:
        """Some readings; of equal steps the later one is the latest."""
        if not len(data):
            return
        at_N = np.clip(
            np.searchsorted(self._edges, data.steps, side="right") - 1, 0, self._sum_EC.shape[1] - 1
        )
        order = np.argsort(at_N, kind="stable")
        filled, begins = np.unique(at_N[order], return_index=True)
        values_NE = data.values[order]
        finite_NE = np.isfinite(values_NE)
        self._sum_EC[:, filled] += np.add.reduceat(np.where(finite_NE, values_NE, 0.0), begins).T
        self._count_EC[:, filled] += np.add.reduceat(finite_NE.astype(np.int64), begins).T
        last = int(np.lexsort((np.arange(len(data)), data.steps, data.attempts))[-1])
        latest = int(data.attempts[last]), int(data.steps[last])
        if self._latest is None or latest >= self._latest:
            self._latest, self._last_E = latest, data.values[last]

    def drawn(self) -> EntryMap:
        """All of it; NaN where an entry has no finite value."""
        names = tuple(f"{tick:g}" if isinstance(tick, float) else str(tick) for tick in ticks(self._axis))
        with np.errstate(invalid="ignore", divide="ignore"):
            means_EC = self._sum_EC / self._count_EC
        step = None if self._latest is None else self._latest[1]
        return EntryMap(self._axis["name"], names, self._edges, means_EC, self._last_E, step)


def _whole(axis: Mapping[str, Any], data: Columns) -> Drawn:
    if not len(data):
        return data, Stretches(axis, np.array([0.0])).drawn()
    distinct = len(np.unique(data.steps))  # a stretch without a reading would be a gap
    edges = np.linspace(data.steps.min() - 0.5, data.steps.max() + 0.5, min(STRETCHES, distinct) + 1)
    stretches = Stretches(axis, edges)
    stretches.add(data)
    return _course([data]), stretches.drawn()


def _in_portions(
    session: Session, row: Series, axis: Mapping[str, Any], since: int | None, until: int | None
) -> Drawn:
    first = max(row.first_step or 0, since if since is not None else FIRST)
    last = max(first, min(row.last_step or 0, until if until is not None else LAST))
    stretches = Stretches(axis, np.linspace(first - 0.5, last + 0.5, STRETCHES + 1))
    lines = []
    portions = -(-row.points // AT_ONCE)
    for number in range(portions):
        # The ends are open: an earlier attempt may have gone further.
        low = first + (last + 1 - first) * number // portions if number else since
        high = first + (last + 1 - first) * (number + 1) // portions - 1 if number < portions - 1 else until
        data = read(session, row.run_id, [row.series_id], low, high, superseded=False)[row.series_id]
        stretches.add(data)
        lines.append(_course([data]))
    return _course(lines), stretches.drawn()


def _course(parts: Sequence[Columns]) -> Columns:
    """The mean of the entries, step by step, by attempt."""
    attempts = np.concatenate([part.attempts for part in parts])
    order = np.argsort(attempts, kind="stable")
    values = np.concatenate([course(part.values) for part in parts])[order]
    steps, times = (
        np.concatenate([getattr(part, name) for part in parts])[order] for name in ("steps", "times")
    )
    return Columns(steps, times, values, attempts[order])


def _batches(rows: Sequence[Series]) -> Iterator[list[Series]]:
    """Together what memory can hold, a large one by itself."""
    batch: list[Series] = []
    room = AT_ONCE
    for row in rows:
        if batch and row.points > room:
            yield batch
            batch, room = [], AT_ONCE
        batch.append(row)
        room -= row.points
    if batch:
        yield batch
