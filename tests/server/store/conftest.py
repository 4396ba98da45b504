"""A run recorded block by block, beside a naive memory of every reading: what any way of storing it must give back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from foreshock_server.db import Database
from foreshock_server.models import Attempt
from foreshock_server.store.blocks import append, is_settled
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_attempt, ensure_writer, lock_run, open_run
from foreshock_server.store.series import NewFrame, NewSeries, register_frames

_names = itertools.count(1)


@dataclass(frozen=True)
class One:
    """One reading as it was sent."""

    attempt: int
    writer: str
    seq: int
    place: int  # of its row within the block
    key: str
    step: int
    time: float
    value: Any  # numpy scalar of the dtype in which it travelled


@dataclass
class Recorded:
    """A run in a database. `sent` forgets nothing and knows nothing of blocks, segments or cursors."""

    database: Database
    run: str = field(default_factory=lambda: f"run-{next(_names)}")
    sent: list[One] = field(default_factory=list)
    numbers: dict[tuple[int, str, tuple[str, ...], str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with self.database.writing() as session:
            open_run(
                session,
                self.run,
                project="p",
                name="",
                config={},
                attempt=1,
                writer="w",
                info={},
                started_at=0.0,
                now=0.0,
            )

    def rows(
        self,
        keys: Sequence[str],
        steps: Sequence[int],
        values: Any,
        *,
        attempt: int = 1,
        writer: str = "w",
        times: Sequence[float] | None = None,
        absent: Any = None,
    ) -> tuple[tuple[str, ...], RowGroup]:
        """A row group of these series; the dtype is that of the values."""
        table = np.asarray(values)
        table = table.reshape(len(steps), len(keys))
        place = (attempt, writer, tuple(keys), table.dtype.str)
        number = self.numbers.setdefault(place, len(self.numbers) + 1)
        at = np.asarray(steps, np.int64)
        clock = at.astype(float) * 0.5 + 1e9 * attempt if times is None else np.asarray(times, float)
        gone = None if absent is None else np.asarray(absent, bool).reshape(table.shape)
        return tuple(keys), RowGroup(number, at, clock, table, gone)

    def store(
        self,
        seq: int,
        *groups: tuple[tuple[str, ...], RowGroup],
        attempt: int = 1,
        writer: str = "w",
        now: float = 0.0,
    ) -> bool:
        """Store a block; True when it was new."""
        with self.database.writing() as session:
            run = lock_run(session, self.run)
            ensure_attempt(session, run, attempt, now=now)
            row = ensure_writer(session, self.run, attempt, writer, now=now)
            if is_settled(session, row, seq):
                return False
            frames = {}
            for keys, group in groups:
                dtype = "f32" if group.values.itemsize == 4 else "f64"
                new = [NewSeries(key, key, "training", "", {}, "", dtype) for key in keys]
                frames[group.frame] = NewFrame(group.frame, dtype, new)
            register_frames(session, self.run, attempt, writer, frames.values())
            if not append(session, row, seq, [group for _, group in groups], now):
                return False
            row.seen_at = now
            run.points += sum(group.present for _, group in groups)
            for _, group in groups:
                begun = session.get_one(Attempt, (self.run, attempt))
                first = int(group.steps[0])
                begun.first_step = first if begun.first_step is None else min(begun.first_step, first)
        place = 0
        for keys, group in groups:
            for i, step in enumerate(group.steps.tolist()):
                place += 1
                for j, key in enumerate(keys):
                    if group.absent is None or not group.absent[i, j]:
                        one = One(
                            attempt, writer, seq, place, key, step, float(group.times[i]), group.values[i, j]
                        )
                        self.sent.append(one)
        return True

    def of(self, key: str) -> list[One]:
        """The readings of a series by attempt, writer and in the order of recording."""
        found = [one for one in self.sent if one.key == key]
        return sorted(found, key=lambda one: (one.attempt, one.writer, one.seq, one.place))


@pytest.fixture
def recorded(database: Database) -> Recorded:
    return Recorded(database)
