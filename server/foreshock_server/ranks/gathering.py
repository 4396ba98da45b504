"""Stored blocks of all ranks of an attempt -> each mergeable statistic as a table of steps by ranks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Block, Series, Writer
from foreshock_server.store.rows import decode_rows
from foreshock_server.store.series import NewSeries, frames

_RANK = re.compile(r"r(\d+)-.*")


@dataclass(frozen=True)
class Subject:
    """A statistic of one place, whatever the rank."""

    row: Series  # of any rank
    labels: tuple[tuple[str, str], ...]  # without the rank

    @property
    def how(self) -> str:
        """The way its ranks are merged."""
        return str(self.row.about["merge"])

    def as_series(self) -> NewSeries:
        """Of all ranks together."""
        return labelled(
            self.row.statistic,
            self.row.family,
            {**dict(self.labels), "rank": "all"},
            self.row.unit,
            self.about,
        )

    @property
    def about(self) -> dict[str, Any]:
        """What is known of it, without how to merge it once more."""
        return {name: value for name, value in self.row.about.items() if name not in ("merge", "weight")}


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
class Readings:
    """Of one statistic, per rank: step -> (time, value); of two for one step the later counts."""

    subject: Subject
    of_rank: dict[int, dict[int, tuple[float, float]]] = field(default_factory=dict)

    def steps(self) -> NDArray[np.int64]:
        """Those of two ranks or more."""
        counted: dict[int, int] = {}
        for readings in self.of_rank.values():
            for step in readings:
                counted[step] = counted.get(step, 0) + 1
        return np.array(sorted(step for step, ranks in counted.items() if ranks > 1), np.int64)


def gather(
    session: Session, run_id: str, attempt: int, writers: Iterable[Writer], after: int, upto: int
) -> dict[tuple[str, tuple[tuple[str, str], ...]], Readings]:
    """The readings of steps in (after, upto], of the statistics that can be merged, by statistic and labels."""
    subjects = _subjects(session, run_id)
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Readings] = {}
    for writer in writers:
        rank = rank_of(writer.writer)
        if rank is None:
            continue
        places = {
            number: [(j, subjects[one]) for j, one in enumerate(frame.series_ids) if one in subjects]
            for number, frame in frames(session, run_id, attempt, writer.writer).items()
        }
        for data in _blocks(session, run_id, attempt, writer, after, upto):
            for group in decode_rows(data):
                wanted = places.get(group.frame)
                if not wanted:
                    continue
                inside = np.flatnonzero((group.steps > after) & (group.steps <= upto)).tolist()
                for j, subject in wanted:
                    key = (subject.row.statistic, subject.labels)
                    into = found.setdefault(key, Readings(subject)).of_rank.setdefault(rank, {})
                    for i in inside:
                        if group.absent is None or not group.absent[i, j]:
                            into[int(group.steps[i])] = (float(group.times[i]), float(group.values[i, j]))
    return found


def _subjects(session: Session, run_id: str) -> dict[int, Subject]:
    rows = session.scalars(select(Series).where(Series.run_id == run_id))
    return {
        row.series_id: Subject(row, tuple(sorted((n, str(v)) for n, v in row.labels.items() if n != "rank")))
        for row in rows
        if row.about.get("merge")
    }


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
