"""What every command shares: settings from words, a database up to date, sentences instead of tracebacks, signals that end quietly."""

from __future__ import annotations

import argparse
import gc
import getpass
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, get_args

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import SQLAlchemyError

from foreshock_server import migrate as migrations
from foreshock_server.db import Database
from foreshock_server.errors import DomainError
from foreshock_server.settings import Settings

log = logging.getLogger(__name__)

TURN = 0.0005  # seconds that a thread may keep the interpreter from others; sqlite3 asks for it anew with every row it reads
# New objects before a look for garbage among them, such looks before one among the older, and those before one among all. One
# among half a million objects, as the rules of a busy server remember, stops every thread for a tenth of a second.
LOOKS = (20_000, 20, 200)


class Refused(Exception):
    """The command cannot run; the message says what to do instead."""


def settings_from(**arguments: Any) -> Settings:
    """The settings of the environment, and what the command line says over them; Refused when they cannot be."""
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise Refused("\n".join(_wrong(problem["loc"][0], problem) for problem in error.errors())) from None


def _wrong(field: int | str, problem: ErrorDetails) -> str:
    secret = SecretStr in get_args(Settings.model_fields[str(field)].annotation)
    value = "" if secret else f"; it is {problem['input']!r}"
    return f"FORESHOCK_{str(field).upper()}: {problem['msg'].removeprefix('Value error, ')}{value}."


def work_evenly() -> None:
    """Call it first in a process of several busy threads: with Python's own 5 ms a list of 500 rows may wait for seconds."""
    sys.setswitchinterval(TURN)
    gc.set_threshold(*LOOKS)
    gc.freeze()  # the modules


def act_on_database(arguments: argparse.Namespace) -> int:
    """Run `arguments.act` on the database below `arguments.data_dir`, brought up to date; its exit status."""
    with sentences():
        with database_below(arguments.data_dir) as database:
            arguments.act(database, arguments)
        return 0
    return 1


@contextmanager
def database_below(data_dir: Path | None) -> Iterator[Database]:
    """The database of the settings, up to date; given back in the end."""
    database = Database(settings_from(data_dir=data_dir).url)
    try:
        bring_up_to_date(database)
        yield database
    finally:
        database.close()


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Each column as wide as its widest cell; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def moment(at: float) -> str:
    """A time as commands show it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def person() -> str:
    """Who runs this command, as the machine knows them."""
    try:
        return f"{getpass.getuser()} (command)"
    except (OSError, KeyError):  # a container may have no name for its user
        return "somebody (command)"


def bring_up_to_date(database: Database) -> None:
    """SQLite is migrated at once; of PostgreSQL, which several processes share, somebody must have said so."""
    with database.migrating() as connection:
        unfinished = migrations.is_unfinished(connection)
    if unfinished:
        raise Refused(
            "This database is being filled by `foreshock migrate --from … --to …`, which has not ended. "
            "Run that again until it says that everything is there."
        )
    if database.is_sqlite:
        applied = migrations.to_head(database)
        if applied:
            log.info("applied to the database: %s", ", ".join(applied))
        return
    with database.migrating() as connection:
        missing = migrations.pending(connection)
    if missing:
        raise Refused(
            f"The database lacks {', '.join(missing)} of this release. Run `foreshock migrate` once, "
            "with the same FORESHOCK_DATABASE_URL, then start again."
        )


@contextmanager
def signals_end_quietly(then: Callable[[], None] = lambda: None) -> Iterator[None]:
    """SIGTERM and Ctrl-C are the ordinary way to end, so they leave neither a trace nor a status of their own."""

    def quietly(_signal: int, _frame: FrameType | None) -> None:
        then()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.signal(name, quietly) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def sentences() -> Iterator[None]:
    """What keeps a command from running is said in sentences on stderr; the command then returns 1."""
    try:
        yield
    except (Refused, DomainError, migrations.NewerDatabase) as error:
        print(error, file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed; run: pip install 'foreshock[scale]'", file=sys.stderr)
    except OSError as error:
        print(f"Cannot use {error.filename}: {error.strerror}.", file=sys.stderr)
    except SQLAlchemyError as error:
        print(f"The database cannot be used: {str(error).splitlines()[0]}", file=sys.stderr)
