"""A long range of series -> its extremes, as many as are drawn, from rollups and what is not sealed: never from all of it.

What a range holds that no whole bucket covers (its ends, where a later attempt took over) is read as it was recorded. So extremes,
counts and steps are those of the readings themselves; only the times of extremes are estimated, between those of the clocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid
from foreshock_server.models import Clock, Rollup, Series
from foreshock_server.store import attempts
from foreshock_server.store.attempts import LAST
from foreshock_server.store.columns import Columns, read, recent
from foreshock_server.store.gather import Gathered
from foreshock_server.store.layout import size_of
from foreshock_server.store.rollups import Buckets, chunks_between, decode, level_for, width
from foreshock_server.store.sealed import WriterKey, count_resting, portions, read_segments

FIRST = -(2**63)  # no step lies before it
MOST_ODD = 10_000  # readings that are not finite, listed
TIMES = 16  # clocks of an attempt between which times are estimated


FEW = 100_000  # readings of a series that are read as they are
FEW_TOGETHER = 4_000_000  # of all series of one question


@dataclass(frozen=True)
class Overview:
    """Readings of one series; or, when it is long, the extremes of its buckets and what is not finite up to MOST_ODD."""

    columns: Columns  # of extremes by (attempt, step)
    points: int  # readings in the range
    nonfinite: int  # of them (of a vector: with an entry that is not)
    means: Columns | None = None  # the course beside the extremes; None: `columns` are all readings

    @property
    def exact(self) -> bool:
        """All readings are there."""
        return self.means is None


def shown(
    session: Session,
    run_id: str,
    rows: Sequence[Series],
    points: int,
    first: int | None = None,
    last: int | None = None,
    *,
    superseded: bool = False,
    most: int | None = None,
) -> dict[int, Overview]:
    """What is drawn of these series: all readings of a short one (or a short range, or points=0), an overview of a long one.

    Invalid, before they are read, when that is more than `most` numbers at rest.
    """
    few = max(8 * points, min(FEW, FEW_TOGETHER // max(1, len(rows))))
    long = {row.series_id for row in rows if points and row.axis is None and row.points > few}
    if long and not _wide(spans(session, run_id, first, last, superseded=superseded), points):
        long = set()
    short = [row.series_id for row in rows if row.series_id not in long]
    if most is not None:
        sizes = {row.series_id: size_of(row.axis) or 1 for row in rows}
        numbers = sum(
            count * sizes[number]
            for number, count in count_resting(session, run_id, short, first, last).items()
        )
        if numbers > most:
            raise too_many(numbers, most)
    found = overview(session, run_id, long, points, first, last, superseded=superseded) if long else {}
    for number, data in read(session, run_id, short, first, last, superseded=superseded).items():
        odd = ~np.isfinite(data.values)
        found[number] = Overview(data, len(data), int((odd if odd.ndim == 1 else odd.any(1)).sum()))
    return found


def too_many(numbers: int, most: int) -> Invalid:
    """The error of an answer that would not fit."""
    return Invalid(
        f"That is {numbers:,} numbers, and {most:,} are the most of one answer of this kind; narrow `first` and `last`, "
        "name fewer keys, or say `points`. Arrow takes more than JSON, and /export all of a run.",
        field="points",
    )


def _wide(some: Sequence[Span], points: int) -> bool:
    """True when the finest buckets are more than the points: else all readings are hardly more work."""
    return sum((span.last - span.first) // width(1) for span in some) >= points


class Span(NamedTuple):
    """What is asked for of one attempt: steps from first to last."""

    attempt: int
    first: int
    last: int


def spans(
    session: Session,
    run_id: str,
    first: int | None,
    last: int | None,
    *,
    superseded: bool,
) -> list[Span]:
    """The steps of each attempt that are asked for, and there: at rest or not."""
    ends = attempts.ends(session, run_id)
    query = select(Clock.attempt, func.min(Clock.first_step), func.max(Clock.last_step))
    found = []
    for attempt, low, high in session.execute(query.where(Clock.run_id == run_id).group_by(Clock.attempt)):
        end = LAST if superseded else ends.get(attempt, LAST)
        low = max(low, FIRST if first is None else first)
        high = min(high, end, LAST if last is None else last)
        if low <= high:
            found.append(Span(attempt, low, high))
    return found


def whole(span: Span, level: int) -> tuple[int, int]:
    """The first and the last bucket of this level that lie within the span; the first after the last when none does."""
    size = width(level)
    return -(-span.first // size), (span.last + 1) // size - 1


def margins(span: Span, level: int) -> Iterator[tuple[int, int]]:
    """The steps of the span that no whole bucket covers, from and to."""
    low, high = whole(span, level)
    if low > high:
        yield span.first, span.last
        return
    size = width(level)
    if span.first < low * size:
        yield span.first, low * size - 1
    if (high + 1) * size <= span.last:
        yield (high + 1) * size, span.last


def level_of(some: Sequence[Span], buckets: int) -> int:
    """The coarsest level that shows so many buckets of the steps of all of them together."""
    if not some:
        return 1
    steps = max(span.last for span in some) - min(span.first for span in some) + 1
    return level_for(steps, buckets)


def overview(
    session: Session,
    run_id: str,
    series_ids: Collection[int],
    points: int,
    first: int | None = None,
    last: int | None = None,
    *,
    superseded: bool = True,
) -> dict[int, Overview]:
    """Of each of these series of numbers about 2 to 16 times `points` extremes with first <= step <= last."""
    wanted = set(series_ids)
    some = spans(session, run_id, first, last, superseded=superseded)
    level = level_of(some, points)
    ends = {} if superseded else attempts.ends(session, run_id)
    parts: dict[int, list[_Part]] = {number: [] for number in wanted}
    odd: dict[int, int] = dict.fromkeys(wanted, 0)
    fresh = recent(session, run_id, wanted)
    for span in some:
        clock = _times(session, run_id, span)
        for number, buckets in _rollups(session, run_id, wanted, span, level):
            parts[number].append(_extremes(buckets, span.attempt, level, clock))
            odd[number] += int(buckets.nonfinite.sum())
        for low, high in margins(span, level):
            rest = read_segments(session, run_id, wanted, low, high, attempt=span.attempt)
            for number, of_writer in rest.items():
                parts[number] += _readings(of_writer, low, high, {})
    for number in wanted:
        low, high = FIRST if first is None else first, LAST if last is None else last
        parts[number] += _readings(fresh.get(number, {}), low, high, ends)
    listed = _odd(session, run_id, [number for number in wanted if odd[number]], some, level)
    return {number: _joined(parts[number], listed.get(number, []), odd[number]) for number in wanted}


class _Part(NamedTuple):
    """Readings that are shown, and how many they stand for."""

    attempt: int
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    points: int
    mean_steps: NDArray[np.int64]
    means: NDArray[np.float64]


def _rollups(
    session: Session, run_id: str, wanted: Collection[int], span: Span, level: int
) -> Iterator[tuple[int, Buckets]]:
    low, high = whole(span, level)
    if low > high:
        return
    size = width(level)
    first, last = chunks_between(level, low * size, high * size)
    for some in portions(wanted):
        query = select(Rollup.series_id, Rollup.chunk, Rollup.data).where(
            Rollup.run_id == run_id,
            Rollup.series_id.in_(some),
            Rollup.attempt == span.attempt,
            Rollup.level == level,
            Rollup.chunk.between(first, last),
        )
        for number, chunk, data in session.execute(query):
            buckets = decode(data, chunk)
            yield number, buckets.of((buckets.ids >= low) & (buckets.ids <= high))


def _extremes(buckets: Buckets, attempt: int, level: int, clock: _Times) -> _Part:
    there = buckets.count[0] > 0
    low_at, high_at = buckets.low_at[0][there], buckets.high_at[0][there]
    steps = np.concatenate([low_at, high_at])
    values = np.concatenate([buckets.low[0][there], buckets.high[0][there]])
    order = np.lexsort((np.arange(len(steps)), steps))
    steps, values = steps[order], values[order]
    once = np.ones(len(steps), np.bool_)  # the two extremes of a bucket may be one reading
    once[1:] = (steps[1:] != steps[:-1]) | (values[1:] != values[:-1])
    steps, values = steps[once], values[once]
    times = np.interp(steps.astype(np.float64), clock.steps, clock.times)
    size = width(level)
    middles = buckets.ids[there] * size + size // 2
    points = int(buckets.count.sum() + buckets.nonfinite.sum())
    return _Part(attempt, steps, times, values, points, middles, buckets.mean[0][there])


def _readings(
    of_writer: Mapping[WriterKey, Gathered], first: int, last: int, ends: Mapping[int, int]
) -> list[_Part]:
    found = []
    for (attempt, _), one in sorted(of_writer.items(), key=lambda pair: pair[0]):
        keep = (one.steps >= first) & (one.steps <= min(last, ends.get(attempt, LAST)))
        values = one.values[keep].astype(np.float64)
        steps, finite = one.steps[keep], np.isfinite(values)
        found.append(
            _Part(attempt, steps, one.times[keep], values, len(steps), steps[finite], values[finite])
        )
    return found


class _Times(NamedTuple):
    """Of some rows of an attempt's clocks, at ascending steps."""

    steps: NDArray[np.float64]
    times: NDArray[np.float64]


def _times(session: Session, run_id: str, span: Span) -> _Times:
    points: dict[int, float] = {}
    gap = max(1, (span.last - span.first) // TIMES)
    for step in range(span.first, span.last + 1, gap):
        query = (
            select(Clock.first_step, Clock.first_time, Clock.last_step, Clock.last_time)
            .where(Clock.run_id == run_id, Clock.attempt == span.attempt, Clock.first_step <= step)
            .order_by(Clock.first_step.desc())
            .limit(1)
        )
        for first, begun, last, ended in session.execute(query):
            points[first], points[last] = begun, ended
    steps = sorted(points)
    return _Times(np.array(steps, np.float64), np.array([points[step] for step in steps]))


def _odd(
    session: Session, run_id: str, wanted: Sequence[int], some: Sequence[Span], level: int
) -> dict[int, list[_Part]]:
    """The readings of whole buckets that are not finite, up to about MOST_ODD of each series."""
    found: dict[int, list[_Part]] = {}
    size = width(level)
    for number in wanted:
        left = MOST_ODD
        for span in some:
            low, high = whole(span, level)
            # By eighths, so that a series which is NaN throughout is not read throughout.
            edges = np.unique(np.linspace(low, high + 1, 9).astype(np.int64))
            for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
                if left <= 0:
                    break
                first, last = begin * size, end * size - 1
                rest = read_segments(
                    session, run_id, [number], first, last, attempt=span.attempt, odd_only=True
                )
                for part in _readings(rest.get(number, {}), first, last, {}):
                    wrong = np.flatnonzero(~np.isfinite(part.values))[:left]
                    left -= len(wrong)
                    steps, times, values = part.steps[wrong], part.times[wrong], part.values[wrong]
                    none = _Part(part.attempt, steps, times, values, 0, steps[:0], values[:0])
                    found.setdefault(number, []).append(none)
    return found


def _joined(parts: Sequence[_Part], odd: Sequence[_Part], uncounted: int) -> Overview:
    here = sum(int((~np.isfinite(part.values)).sum()) for part in parts)
    return Overview(
        _columns([(part.attempt, part.steps, part.times, part.values) for part in (*parts, *odd)]),
        sum(part.points for part in parts),
        uncounted + here,
        _columns([(part.attempt, part.mean_steps, np.zeros(len(part.means)), part.means) for part in parts]),
    )


def _columns(
    parts: Sequence[tuple[int, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]],
) -> Columns:
    """By (attempt, step)."""
    if not parts:
        return Columns(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int32))
    steps = np.concatenate([part[1] for part in parts])
    times, values = np.concatenate([part[2] for part in parts]), np.concatenate([part[3] for part in parts])
    sizes = [len(part[1]) for part in parts]
    which = np.repeat(np.array([part[0] for part in parts], np.int32), sizes)
    order = np.lexsort((steps, which))
    return Columns(steps[order], times[order], values[order], which[order])
