"""Many series over a range of steps -> a matrix of means, one row per series, from rollups and what is not sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Block, Frame, Rollup
from foreshock_server.store import attempts
from foreshock_server.store.attempts import LAST
from foreshock_server.store.layout import slots
from foreshock_server.store.overview import FIRST, Span, level_of, margins, spans, whole
from foreshock_server.store.rollups import chunks_between, decode_means, width
from foreshock_server.store.rows import decode_rows
from foreshock_server.store.sealed import portions, read_segments


@dataclass(frozen=True)
class Heatmap:
    """`means[i, j]` of series i over the steps edges[j] <= step < edges[j + 1]; NaN where it has no finite reading."""

    edges: NDArray[np.int64]
    means: NDArray[np.float64]  # series × cells
    counts: NDArray[np.int64]  # finite readings of each


class _Means:
    """Means of cells, added to from any side. Each by its share: a sum of large numbers would overflow."""

    def __init__(self, series_ids: Sequence[int], first: int, size: int, cells: int) -> None:
        self.row = {number: i for i, number in enumerate(series_ids)}
        self._before, self._size = first // size, size
        self.mean = np.zeros((len(series_ids), cells))
        self.count = np.zeros((len(series_ids), cells), np.int64)

    def cell_of(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        return steps // self._size - self._before

    def add(
        self, rows: Any, cells: NDArray[np.int64], means: NDArray[np.float64], counts: NDArray[np.int64]
    ) -> None:
        """Means and counts [rows, n] of cells [n], which ascend."""
        if not len(cells):
            return
        starts = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
        added = np.add.reduceat(counts, starts, axis=1)
        share = counts / np.maximum(np.repeat(added, np.diff(starts, append=len(cells)), axis=1), 1)
        mean = np.add.reduceat(means * share, starts, axis=1)
        at = np.ix_(rows, cells[starts])
        total = np.maximum(self.count[at] + added, 1)
        self.mean[at] = self.mean[at] * (self.count[at] / total) + mean * (added / total)
        self.count[at] += added


def heatmap(
    session: Session,
    run_id: str,
    series_ids: Sequence[int],
    columns: int,
    first: int | None = None,
    last: int | None = None,
    *,
    superseded: bool = False,
) -> Heatmap | None:
    """At most `columns` cells of equal width, about half as many at least if there are steps enough; None without a step.

    Edges lie on a grid, so the first and the last cell may reach over the range; they hold all that is there.
    """
    resting = spans(session, run_id, first, last, superseded=superseded)
    fresh = _fresh_spans(session, run_id, first, last, superseded=superseded)
    if not resting and not fresh:
        return None
    begin = min(span.first for span in (*resting, *fresh))
    end = max(span.last for span in (*resting, *fresh))
    level = level_of([Span(0, begin, end)], max(1, columns // 2))
    grid = width(level) if end - begin + 1 >= columns * width(level) // 2 else 1
    size = max(1, -(-(end - begin + 1) // (columns * grid))) * grid
    while end // size - begin // size >= columns:
        size += grid
    begin = begin // size * size
    cells = (end - begin) // size + 1
    sums = _Means(series_ids, begin, size, cells)
    first, last = max(begin, FIRST), min(begin + size * cells - 1, LAST)  # whole cells, so whole buckets
    for span in spans(session, run_id, first, last, superseded=superseded):
        if grid == 1:
            _add_segments(session, run_id, sums, span.attempt, span.first, span.last)
            continue
        wide = _stretched(span, first, last, {} if superseded else attempts.ends(session, run_id))
        _add_rollups(session, run_id, sums, wide, level)
        for low, high in margins(wide, level):
            _add_segments(session, run_id, sums, span.attempt, low, high)
    for span in _fresh_spans(session, run_id, first, last, superseded=superseded):
        _add_blocks(session, run_id, sums, span)
    edges = np.array([min(max(begin + size * cell, FIRST), LAST) for cell in range(cells + 1)], np.int64)
    return Heatmap(edges, np.where(sums.count > 0, sums.mean, np.nan), sums.count)


def _stretched(span: Span, first: int, last: int, ends: Mapping[int, int]) -> Span:
    """To the ends of all cells, or to where a later attempt begins: only that cuts a bucket."""
    return Span(span.attempt, first, min(last, ends.get(span.attempt, LAST)))


def _fresh_spans(
    session: Session, run_id: str, first: int | None, last: int | None, *, superseded: bool
) -> list[Span]:
    """As of what rests, of the blocks."""
    ends = {} if superseded else attempts.ends(session, run_id)
    found: dict[int, Span] = {}
    query = select(Block.attempt, Block.first_step, Block.last_step)
    for attempt, low, high in session.execute(query.where(Block.run_id == run_id)):
        if low is None or high is None:
            continue
        low = max(low, FIRST if first is None else first)
        high = min(high, LAST if last is None else last, ends.get(attempt, LAST))
        if low <= high:
            known = found.get(attempt, Span(attempt, low, high))
            found[attempt] = Span(attempt, min(low, known.first), max(high, known.last))
    return list(found.values())


def _add_rollups(session: Session, run_id: str, sums: _Means, span: Span, level: int) -> None:
    low, high = whole(span, level)
    if low > high:
        return
    size = width(level)
    chunks = chunks_between(level, low * size, high * size)
    for some in portions(sums.row):
        query = select(Rollup.series_id, Rollup.chunk, Rollup.data).where(
            Rollup.run_id == run_id,
            Rollup.series_id.in_(some),
            Rollup.attempt == span.attempt,
            Rollup.level == level,
            Rollup.chunk.between(*chunks),
        )
        for number, chunk, data in session.execute(query):
            one = decode_means(data, chunk)
            a, b = np.searchsorted(one.ids, (low, high + 1))
            cells = sums.cell_of(one.ids[a:b] * size)
            sums.add([sums.row[number]], cells, one.mean[None, a:b], one.count[None, a:b])


def _add_segments(session: Session, run_id: str, sums: _Means, attempt: int, first: int, last: int) -> None:
    for some in portions(sums.row):
        found = read_segments(session, run_id, some, first, last, attempt=attempt)
        for number, of_writer in found.items():
            for one in of_writer.values():
                keep = np.isfinite(one.values) & (one.steps >= first) & (one.steps <= last)
                cells = sums.cell_of(one.steps[keep])
                order = np.argsort(cells, kind="stable")
                values = one.values[keep][order].astype(np.float64)
                ones = np.ones((1, len(values)), np.int64)
                sums.add([sums.row[number]], cells[order], values[None], ones)


def _add_blocks(session: Session, run_id: str, sums: _Means, span: Span) -> None:
    """A frame at a time, all its series together: a look at each column would be Python's loop."""
    query = (
        select(Block.writer, Block.rows)
        .where(Block.run_id == run_id, Block.attempt == span.attempt)
        .where(Block.last_step >= span.first, Block.first_step <= span.last)
        .execution_options(yield_per=200)
    )
    known: dict[tuple[str, int], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    frames = select(Frame).where(Frame.run_id == run_id, Frame.attempt == span.attempt)
    for frame in session.scalars(frames):
        known[frame.writer, frame.frame] = _wanted(frame, sums.row)
    for writer, data in session.execute(query):
        for group in decode_rows(data):
            rows, columns = known[writer, group.frame]
            if not len(rows):
                continue
            inside = (group.steps >= span.first) & (group.steps <= span.last)
            values = group.values[inside][:, columns].astype(np.float64)
            there = np.isfinite(values)
            if group.absent is not None:
                there &= ~group.absent[inside][:, columns]
            numbers = np.where(there, values, 0.0)
            sums.add(rows, sums.cell_of(group.steps[inside]), numbers.T, there.T.astype(np.int64))


def _wanted(frame: Frame, row: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the heatmap and columns of the frame: the numbers of it that are asked for."""
    found = [
        (row[slot.series_id], slot.first)
        for slot in slots(frame)
        if slot.width is None and slot.series_id in row
    ]
    rows, columns = zip(*found, strict=True) if found else ((), ())
    return np.array(rows, np.int64), np.array(columns, np.int64)
