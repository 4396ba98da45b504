"""One database -> another one, of either kind: every row of every table, then counts and checksums of both sides compared.

Goes in by portions, each a transaction. What is done is noted in a table of the target, so after a kill it goes on where it stood.
Nothing is written to the source meanwhile: it is locked, and training processes keep what they record until a server answers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, delete, func, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from foreshock_server import migrate as migrations
from foreshock_server.db import Database
from foreshock_server.errors import DomainError
from foreshock_server.exchange.checksums import Sum, checksum
from foreshock_server.migrate import UNFINISHED
from foreshock_server.models import Base

MOST_ROWS = 2000  # in one transaction of the target
MOST_BYTES = 8 * 2**20  # of blobs in one, unless a single one is larger
LOCK_PATIENCE_MS = 2000  # for whoever has the source open
_SHOWN = 5  # differences in one sentence

# In the target, from the first moment to the last: the source, and each part that is there.
NOTES = Table(UNFINISHED, MetaData(), Column("part", String(400), primary_key=True))

Part = tuple[str, str | None]  # a table, and of which run; None: all of it


class CannotMove(DomainError):
    """The database cannot be copied."""

    status = 409


@dataclass(frozen=True)
class Moved:
    """What is on both sides now."""

    runs: int
    rows: int


def move(source: Database, target: Database, say: Callable[[str], None]) -> Moved:
    """Copy all of the source into the target, which must be empty or hold an earlier try of the same; CannotMove says why not.

    `say` is told how far it is, about once a run.
    """
    if make_url(source.url) == make_url(target.url):
        raise CannotMove("Source and target are the same database; give --to another one.")
    with _locked(source) as reading:
        missing = migrations.pending(reading)
        if missing:
            raise CannotMove(
                f"The source lacks {', '.join(missing)} of this release; run `foreshock migrate` on it first."
            )
        name = make_url(source.url).render_as_string(hide_password=True)
        done = _begin(target, name)
        parts = list(_parts(reading))
        runs = sorted({run for _, run in parts if run is not None})
        rows = sum(_copy(reading, target, part) for part in parts if part[1] is None and part not in done)
        for number, run in enumerate(runs, start=1):
            waiting = [part for part in parts if part[1] == run and part not in done]
            if not waiting:
                continue
            copied = sum(_copy(reading, target, part) for part in waiting)
            rows += copied
            say(f"run {number:,} of {len(runs):,}: {run}, {copied:,} rows")
        say("All is copied; comparing both sides …")
        total = _compare(reading, target, parts)
    _end(target)
    return Moved(len(runs), total)


@contextmanager
def _locked(source: Database) -> Iterator[Connection]:
    """A connection to the source that sees one moment of it, while nobody else can write there."""
    with source.engine.connect() as connection:
        try:
            if source.is_sqlite:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={LOCK_PATIENCE_MS}")
                connection.exec_driver_sql(
                    "PRAGMA locking_mode=EXCLUSIVE"
                )  # nobody else may even have it open
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
                names = ", ".join(
                    f'"{table.name}"' for table in Base.metadata.sorted_tables if _exists(connection, table)
                )
                if names:
                    connection.execute(text(f"LOCK TABLE {names} IN SHARE MODE NOWAIT"))
        except OperationalError as error:
            raise CannotMove(
                "The source is in use by another process. Stop its servers and workers, then run this again; "
                "training may go on, its readings wait in the spools."
            ) from error
        try:
            yield connection
        finally:
            connection.rollback()
            if source.is_sqlite:
                connection.invalidate()  # the lock goes with the connection


def _exists(connection: Connection, table: Table) -> bool:
    return bool(connection.execute(text("SELECT to_regclass(:name)"), {"name": table.name}).scalar())


def _parts(source: Connection) -> Iterator[Part]:
    """Everything there is, in the order in which it is copied: what belongs to no run, then run by run, its own row last."""
    runs = Base.metadata.tables["runs"]
    volume = [table for table in Base.metadata.sorted_tables if "run_id" in table.c]
    for table in Base.metadata.sorted_tables:
        if table is not runs and table not in volume:
            yield table.name, None
    owners: dict[str, list[str]] = {run: [] for run in source.scalars(select(runs.c.id))}
    for table in volume:
        for run in source.scalars(select(table.c.run_id).distinct()):
            owners.setdefault(run, []).append(table.name)
    for run, tables in sorted(owners.items()):
        yield from ((name, run) for name in tables)
        yield "runs", run


def _rows_of(connection: Connection, part: Part, *columns: Any) -> Iterator[Any]:
    table = Base.metadata.tables[part[0]]
    query = select(*(columns or [table]))
    if part[1] is not None:
        query = query.where(_owner(table) == part[1])
    result = connection.execution_options(yield_per=MOST_ROWS if columns else 200).execute(query)
    yield from result


def _owner(table: Table) -> Any:
    return table.c.id if table.name == "runs" else table.c.run_id


def _copy(source: Connection, target: Database, part: Part) -> int:
    """The rows of this part that the target lacks are there now, and it is noted that they are."""
    table = Base.metadata.tables[part[0]]
    keys = list(table.primary_key.columns)
    with target.engine.connect() as connection:
        there = {tuple(row) for row in _rows_of(connection, part, *keys)}
    blobs = [
        column.name
        for column in table.columns
        if isinstance(column.type.python_type, type) and column.type.python_type is bytes
    ]
    waiting: list[dict[str, Any]] = []
    size = copied = 0

    def flush(*, last: bool = False) -> None:
        nonlocal size, copied
        with target.writing() as session:
            if waiting:
                session.execute(insert(table), waiting)
            if last:
                session.execute(insert(NOTES), {"part": _note(part)})
        copied += len(waiting)
        waiting.clear()
        size = 0

    for row in _rows_of(source, part):
        fields = row._asdict()
        if tuple(fields[key.name] for key in keys) in there:
            continue
        waiting.append(fields)
        size += sum(len(fields[name]) for name in blobs if fields[name] is not None)
        if len(waiting) >= MOST_ROWS or size >= MOST_BYTES:
            flush()
    flush(last=True)
    return copied


def _compare(source: Connection, target: Database, parts: list[Part]) -> int:
    """The rows of either side, which are the same; CannotMove names what is not, and makes ready to copy that anew."""
    total, wrong = 0, []
    for part in parts:
        with target.engine.connect() as connection:
            ours, theirs = (checksum(_rows_of(one, part)) for one in (source, connection))
        total += ours.rows
        if ours != theirs:
            wrong.append((part, ours, theirs))
    surplus = _surplus(source, target)
    if not wrong and not surplus:
        return total
    for part, _, _ in wrong:
        _forget(target, part)
    raise CannotMove(_difference(wrong, surplus))


def _surplus(source: Connection, target: Database) -> list[str]:
    """Tables in which the target holds more than the source, in runs that the source does not know."""
    found = []
    with target.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            ours, theirs = (
                one.scalar(select(func.count()).select_from(table)) or 0 for one in (source, connection)
            )
            if theirs > ours:
                found.append(table.name)
    return found


def _forget(target: Database, part: Part) -> None:
    table = Base.metadata.tables[part[0]]
    with target.writing() as session:
        statement = delete(table)
        session.execute(statement if part[1] is None else statement.where(_owner(table) == part[1]))
        session.execute(delete(NOTES).where(NOTES.c.part == _note(part)))


def _difference(wrong: list[tuple[Part, Sum, Sum]], surplus: list[str]) -> str:
    shown = [
        f"{table}{f' of run {run}' if run else ''} ({ours.rows:,} rows there, {theirs.rows:,} here"
        + (", other content)" if ours.rows == theirs.rows else ")")
        for (table, run), ours, theirs in wrong[:_SHOWN]
    ]
    more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    if not wrong:
        return (
            f"The target holds more than the source in {', '.join(surplus)}: something else wrote to it. "
            "Begin again with an empty database."
        )
    return (
        f"The copy is not the same as the source: {', '.join(shown)}{more}. "
        "What differs was taken out of the target; run the same command again to copy it anew."
    )


# -- the note in the target -------------------------------------------------------------------------------------------


def _begin(target: Database, source: str) -> set[Part]:
    """What an earlier try of the same has done."""
    migrations.to_head(target)
    with target.writing() as session:
        if not migrations.is_unfinished(session.connection()):
            held = [
                table.name
                for table in Base.metadata.sorted_tables
                if session.execute(select(table).limit(1)).first() is not None
            ]
            if held:
                raise CannotMove(
                    f"The target holds something already (in {', '.join(held)}); give --to an empty database."
                )
            NOTES.create(session.connection())
            session.execute(insert(NOTES), {"part": f"from {source}"})
            return set()
        notes = set(session.scalars(select(NOTES.c.part)))
    if f"from {source}" not in notes:
        (other,) = (note for note in notes if note.startswith("from "))
        raise CannotMove(
            f"The target is half filled {other}; go on with that one, or give --to an empty database."
        )
    return {_part(note) for note in notes if not note.startswith("from ")}


def _end(target: Database) -> None:
    with target.writing() as session:
        NOTES.drop(session.connection())


def _note(part: Part) -> str:
    return part[0] if part[1] is None else f"{part[0]} {part[1]}"


def _part(note: str) -> Part:
    table, _, run = note.partition(" ")
    return table, run or None
