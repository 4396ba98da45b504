"""New blocks of all ranks of an attempt -> the statistics that can be merged, as one table of statistics by steps by ranks.

Shape suffixes: S statistics, N steps, R ranks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Block, Series, Writer
from foreshock_server.ranks.merging import Held
from foreshock_server.store.layout import size_of, slots
from foreshock_server.store.rows import RowGroup, decode_rows
from foreshock_server.store.series import NewSeries, frames

Labels = tuple[tuple[str, str], ...]
_MERGING = ("merge", "weight", "layout")  # what is said of one rank's readings, not of all ranks'
_RANK = re.compile(r"r(\d+)-.*")


@dataclass(frozen=True)
class Subject:
    """A statistic of one place, whatever the rank; of a vector one entry of it."""

    statistic: str
    family: str
    unit: str
    labels: Labels  # without the rank
    described: Mapping[str, Any]
    axis: Mapping[str, Any] | None = None  # of a vector
    entry: int | None = None
    held: dict[int, Held] = field(default_factory=dict, compare=False)  # by rank; of none: each its own rows

    @property
    def how(self) -> str:
        """The way its ranks are merged, of ranks with the same columns."""
        return str(self._merging["merge"])

    @property
    def weight(self) -> str:
        """Of a mean: the statistic that counts its rows."""
        return str(self._merging.get("weight"))

    @property
    def over_columns(self) -> str:
        """The way ranks with other columns are merged."""
        return str(self._merging.get("columns", self.how))

    @property
    def _merging(self) -> Mapping[str, Any]:
        return self.described.get("layout") or self.described

    @cached_property
    def as_series(self) -> NewSeries:
        """Of all ranks together."""
        about = {name: value for name, value in self.described.items() if name not in _MERGING}
        labels = {**dict(self.labels), "rank": "all"}
        return replace(labelled(self.statistic, self.family, labels, self.unit, about), axis=self.axis)

    @cached_property
    def name(self) -> str:
        """What nothing else in the run is called."""
        return self.as_series.key if self.entry is None else f"{self.as_series.key}[{self.entry}]"


def labelled(
    statistic: str, family: str, labels: Mapping[str, str], unit: str, about: Mapping[str, Any]
) -> NewSeries:
    """A float32 series with its key."""
    inner = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    key = f"{statistic}{{{inner}}}" if inner else statistic
    return NewSeries(key, statistic, family, labels.get("place", ""), dict(labels), unit, "f32", dict(about))


def rank_of(writer: str) -> int | None:
    """The rank in a writer's name, `r<rank>-<random>`; None for any other name."""
    found = _RANK.fullmatch(writer)
    return int(found[1]) if found else None


@dataclass
class Table:
    """Readings of steps that any rank had; of two for one step the later counts."""

    subjects: list[Subject]
    ranks: list[int]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]  # [S, N, R], as are the next two; NaN where there is none
    times: NDArray[np.float64]  # 0 where there is none
    there: NDArray[np.bool_]


class _Columns(NamedTuple):
    """Of a frame, those that can be merged."""

    positions: NDArray[np.intp]
    subjects: NDArray[np.intp]  # numbers of Catalogue.subjects


@dataclass
class Catalogue:
    """What can be merged in one run. Neither series nor frames ever change, so only new ones are read."""

    run_id: str
    subjects: list[Subject] = field(default_factory=list)
    _numbers: dict[tuple[str, Labels], tuple[int, int | None]] = field(
        default_factory=dict
    )  # its number, or that of a vector's first entry, and how many entries there are
    _of_series: dict[int, int] = field(default_factory=dict)  # series -> its subject's number, as above
    _last: int = 0  # series read
    _columns: dict[tuple[int, str, int], _Columns] = field(default_factory=dict)  # attempt, writer, frame

    def refresh(self, session: Session) -> None:
        """Read the series that have come since."""
        query = (
            select(
                Series.series_id,
                Series.statistic,
                Series.family,
                Series.unit,
                Series.labels,
                Series.about,
                Series.axis,
            )
            .where(Series.run_id == self.run_id, Series.series_id > self._last)
            .order_by(Series.series_id)
        )
        for series_id, statistic, family, unit, labels, about, axis in session.execute(query):
            self._last = series_id
            layout = about.get("layout")
            if not about.get("merge") and not layout:
                continue
            size = size_of(axis)
            plain = tuple(sorted((name, str(value)) for name, value in labels.items() if name != "rank"))
            if self._numbers.get((statistic, plain), (0, size))[1] != size:  # ranks that have other sizes
                plain = tuple(sorted((*plain, ("entries", str(size or "number")))))
            number, _ = self._numbers.setdefault((statistic, plain), (len(self.subjects), size))
            if number == len(self.subjects):
                entries = [None] if size is None else range(size)
                held: dict[int, Held] = {}
                self.subjects += [
                    Subject(statistic, family, unit, plain, about, axis, entry, held) for entry in entries
                ]
            self._of_series[series_id] = number
            rank = str(labels.get("rank", "0"))
            if layout and rank.isdigit():
                self.subjects[number].held[int(rank)] = Held(
                    *(layout.get(name, default) for name, default in Held(layout["part"])._asdict().items())
                )

    def columns(self, session: Session, attempt: int, writer: str, frame: int) -> _Columns:
        """Of a frame of this writer."""
        key = (attempt, writer, frame)
        if key not in self._columns:
            for number, row in frames(session, self.run_id, attempt, writer).items():
                found = [
                    (slot.first + entry, self._of_series[slot.series_id] + entry)
                    for slot in slots(row)
                    if slot.series_id in self._of_series
                    for entry in range(slot.width or 1)
                ]
                positions, subjects = np.array(found, np.intp).reshape(-1, 2).T
                self._columns[attempt, writer, number] = _Columns(positions, subjects)
        return self._columns[key]


class _Part(NamedTuple):
    """A row group, with where its readings belong."""

    rank: int
    columns: _Columns
    group: RowGroup
    inside: NDArray[np.bool_]


def gather(
    session: Session,
    catalogue: Catalogue,
    attempt: int,
    writers: Iterable[Writer],
    after: int,
    upto: int,
) -> Table:
    """The readings of steps in (after, upto], of the statistics that the catalogue, refreshed, knows can be merged."""
    parts: list[_Part] = []
    for writer in writers:
        rank = rank_of(writer.writer)
        if rank is None:
            continue
        for data in _blocks(session, catalogue.run_id, attempt, writer, after, upto):
            for group in decode_rows(data):
                columns = catalogue.columns(session, attempt, writer.writer, group.frame)
                inside = (group.steps > after) & (group.steps <= upto)
                if len(columns.positions) and inside.any():
                    parts.append(_Part(rank, columns, group, inside))
    return _table(catalogue.subjects, parts)


def _table(known: Sequence[Subject], parts: Sequence[_Part]) -> Table:
    nothing: list[NDArray[Any]] = [np.empty(0, np.int64)]
    numbers = np.unique(np.concatenate([part.columns.subjects for part in parts] or nothing))
    steps = np.unique(np.concatenate([part.group.steps[part.inside] for part in parts] or nothing))
    ranks = sorted({part.rank for part in parts})
    shape = (len(numbers), len(steps), len(ranks))
    values_SNR, times_SNR, there_SNR = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape, np.bool_)
    for part in parts:
        group, r = part.group, ranks.index(part.rank)
        rows = np.flatnonzero(part.inside)
        found = group.values[np.ix_(rows, part.columns.positions)]
        s = np.broadcast_to(np.searchsorted(numbers, part.columns.subjects), found.shape)
        n = np.broadcast_to(np.searchsorted(steps, group.steps[rows])[:, None], found.shape)
        times = np.broadcast_to(group.times[rows][:, None], found.shape)
        if group.absent is not None:
            present = ~group.absent[np.ix_(rows, part.columns.positions)]
            found, s, n, times = found[present], s[present], n[present], times[present]
        values_SNR[s, n, r], times_SNR[s, n, r], there_SNR[s, n, r] = found, times, True
    return Table(
        [known[number] for number in numbers.tolist()], ranks, steps, values_SNR, times_SNR, there_SNR
    )


def _blocks(
    session: Session, run_id: str, attempt: int, writer: Writer, after: int, upto: int
) -> Iterable[bytes]:
    return session.scalars(
        select(Block.rows)
        .where(Block.run_id == run_id, Block.attempt == attempt, Block.writer == writer.writer)
        .where(Block.seq <= writer.acked_seq, Block.last_step > after, Block.first_step <= upto)
        .order_by(Block.seq)
        .execution_options(yield_per=200)
    )
