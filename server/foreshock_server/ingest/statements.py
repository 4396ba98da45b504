"""The statements that storing blocks needs, one object per run and transaction, in both dialects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

Waiting = Callable[[int], Sequence[int]]  # seq -> some of the seqs stored beyond it, in order; empty: none


class RunRow(NamedTuple):
    """What storing changes in a row of `runs`."""

    revision: int
    points: int
    last_attempt: int | None
    last_step: int | None
    deleted_at: float | None


class AttemptRow(NamedTuple):
    """What storing changes in a row of `attempts`."""

    first_step: int | None


_OF_WRITER = "run_id = :run AND attempt = :attempt AND writer = :writer"


@dataclass(frozen=True)
class _Statement:
    sqlite: str
    postgresql: str


def _both(text: str, *, sqlite: Mapping[str, str], postgresql: Mapping[str, str]) -> _Statement:
    """Written once, with :name parameters; in braces is what differs, and the condition that names one writer."""
    return _Statement(
        text.format(of_writer=_OF_WRITER, **sqlite),
        re.sub(r":(\w+)", r"%(\1)s", text.format(of_writer=_OF_WRITER, **postgresql)),
    )


def _same(text: str) -> _Statement:
    return _both(text, sqlite={}, postgresql={})


_LOCK_RUN = _both(
    "SELECT revision, points, last_attempt, last_step, deleted_at FROM runs WHERE id = :run {lock}",
    sqlite={"lock": ""},  # which has one writer
    postgresql={"lock": "FOR UPDATE"},
)
_ATTEMPT = _same("SELECT first_step FROM attempts WHERE run_id = :run AND attempt = :attempt")
_WRITER = _same(
    "SELECT floor, acked_seq, dropped, lost, cost, seen_at,"
    " (SELECT seq FROM blocks WHERE {of_writer} ORDER BY seq DESC LIMIT 1) FROM writers WHERE {of_writer}"
)
_FRAMES = _both(
    "SELECT frame, dtype, json_array_length(series_ids), widths FROM frames WHERE {of_writer} AND frame {among}",
    sqlite={"among": "IN (SELECT value FROM json_each(:frames))"},
    postgresql={"among": "= ANY(:frames)"},
)
_HAS_BLOCK = _same("SELECT 1 FROM blocks WHERE {of_writer} AND seq = :seq")
_AFTER = _same("SELECT seq FROM blocks WHERE {of_writer} AND seq > :seq ORDER BY seq LIMIT 1000")
_INSERT = _same(
    "INSERT INTO blocks (run_id, attempt, writer, seq, received_at, first_step, last_step, points, rows)"
    " VALUES (:run, :attempt, :writer, :seq, :received_at, :first_step, :last_step, :points, :rows)"
)
_SET_RUN = _same(
    "UPDATE runs SET revision = :revision, updated_at = :updated_at, points = :points,"
    " last_attempt = :last_attempt, last_step = :last_step WHERE id = :run"
)
_SET_ATTEMPT = _same(
    "UPDATE attempts SET first_step = :first_step WHERE run_id = :run AND attempt = :attempt"
)
_SET_WRITER = _same(
    "UPDATE writers SET floor = :floor, acked_seq = :acked, dropped = :dropped, lost = :lost, cost = :cost,"
    " seen_at = :seen_at WHERE {of_writer}"
)


class Statements:
    """Reads and writes rows of one run. SQLite gives JSON as text, psycopg as what it says."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id
        self._postgresql = connection.dialect.name == "postgresql"

    def lock_run(self) -> RunRow | None:
        """The run, held until the transaction ends (see store.runs.lock_run); None where there is none."""
        row = self._execute(_LOCK_RUN).first()
        return None if row is None else RunRow(*row)

    def attempt(self, attempt: int) -> AttemptRow | None:
        """One row of `attempts`."""
        row = self._execute(_ATTEMPT, attempt=attempt).first()
        return None if row is None else AttemptRow(*row)

    def writer(self, attempt: int, writer: str) -> dict[str, Any] | None:
        """floor, acked, dropped, lost, cost and seen_at of a row of `writers`, and the highest seq of its blocks."""
        row = self._execute(_WRITER, attempt=attempt, writer=writer).first()
        if row is None:
            return None
        floor, acked, dropped, lost, cost, seen_at, highest = row
        return {
            "floor": floor,
            "acked": acked,
            "dropped": dropped,
            "lost": _json(lost),
            "cost": _json(cost),
            "seen_at": seen_at,
            "highest": highest or 0,
        }

    def frames(self, attempt: int, writer: str, numbers: Collection[int]) -> dict[int, tuple[str, int]]:
        """dtype and columns of each of these frames that the writer has described."""
        wanted: Any = list(numbers) if self._postgresql else json.dumps(list(numbers))
        rows = self._execute(_FRAMES, attempt=attempt, writer=writer, frames=wanted)
        return {
            frame: (dtype, sum(width or 1 for width in _json(widths) or ()) or series)
            for frame, dtype, series, widths in rows
        }

    def has_block(self, attempt: int, writer: str, seq: int) -> bool:
        """True when it is stored and not sealed yet."""
        return self._execute(_HAS_BLOCK, attempt=attempt, writer=writer, seq=seq).first() is not None

    def blocks_after(self, attempt: int, writer: str) -> Waiting:
        """Reads the seqs of one writer."""
        return lambda seq: [row[0] for row in self._execute(_AFTER, attempt=attempt, writer=writer, seq=seq)]

    def insert_blocks(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All of them, none of which is stored."""
        if rows:
            statement = _INSERT.postgresql if self._postgresql else _INSERT.sqlite
            self._connection.exec_driver_sql(statement, [{"run": self._run_id, **row} for row in rows])

    def update_run(self, **columns: Any) -> None:
        """revision, updated_at, points, last_attempt and last_step."""
        self._execute(_SET_RUN, **columns)

    def update_attempt(self, attempt: int, first_step: int | None) -> None:
        """The earliest step of an attempt."""
        self._execute(_SET_ATTEMPT, attempt=attempt, first_step=first_step)

    def update_writer(self, attempt: int, writer: str, columns: Mapping[str, Any]) -> None:
        """What `writer` reads."""
        told = {**columns, "lost": json.dumps(columns["lost"]), "cost": json.dumps(columns["cost"])}
        self._execute(_SET_WRITER, attempt=attempt, writer=writer, **told)

    def _execute(self, statement: _Statement, **parameters: Any) -> Any:
        text = statement.postgresql if self._postgresql else statement.sqlite
        return self._connection.exec_driver_sql(text, {"run": self._run_id, **parameters})


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
