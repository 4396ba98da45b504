"""Engine and sessions: one writer for SQLite, one transaction per unit of work, nobody else commits."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

_BUSY_SECONDS = 30  # how long one process waits for another that writes to the same SQLite file


class Database:
    """One engine. `reading()` and `writing()` are the only ways to a session, and the only places that commit."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        steady = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        # "steady": what it reads is committed, so it may be remembered (store/columns.py)
        self._readers = sessionmaker(steady, expire_on_commit=False, info={"steady": True})
        # SQLite has one writer anyway; queueing here costs less than its busy handler, which polls.
        self._one_writer = threading.Lock()
        self._writer: int | None = None  # the thread that holds it

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the database throughout, and whose changes, if any, are undone."""
        with self._readers() as session:
            if self.is_sqlite:
                session.connection().exec_driver_sql("BEGIN")
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are all stored when the block ends, or none if it raises. Do not nest it."""
        if not self.is_sqlite:
            with self._sessions.begin() as session:
                yield session
            return
        with self._alone(), self._sessions.begin() as session:
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
            yield session

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A bare connection in one transaction, for changes of the schema."""
        with self._alone(), self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._writer == threading.get_ident():
            raise RuntimeError(
                "writing() inside writing(): the inner one would wait for the outer one forever"
            )
        with self._one_writer:
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


@contextmanager
def undone_alone(session: Session) -> Iterator[None]:
    """A part of a transaction: what it changes is undone if it raises, and the rest goes on."""
    with session.begin_nested():
        yield


def is_away(error: BaseException) -> bool:
    """True when the database did not do it now and may do it later: it does not answer, is busy, or only reads for the moment."""
    if isinstance(error, (OperationalError, PoolTimeout)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # PostgreSQL's code for read_only_sql_transaction: a replica, or a primary that has just changed
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) == "25006"


def is_full(error: BaseException) -> bool:
    """True when the database has no room left on its disk."""
    if not isinstance(error, DBAPIError):
        return False
    # SQLite's own words; PostgreSQL's code for disk_full
    return "disk is full" in str(error.orig) or getattr(error.orig, "sqlstate", None) == "53100"


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=40)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = (
            None  # we say BEGIN ourselves: pysqlite's own begins too late and too weakly
        )
        cursor = connection.cursor()
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={1000 * _BUSY_SECONDS}",
            "foreign_keys=ON",
        ):
            _patiently(cursor, f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _patiently(cursor: sqlite3.Cursor, statement: str) -> None:
    # SQLite refuses to change the journal's mode at once, without its busy handler, while another connection does so
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.02)
