"""Words of a command line -> a running service, a worker, a migrated database; each returns an exit status."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, get_args

import uvicorn
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import SQLAlchemyError

from foreshock_server import migrate as migrations
from foreshock_server.app import create_app
from foreshock_server.auth.gate import is_loopback
from foreshock_server.bus import open_bus
from foreshock_server.db import Database
from foreshock_server.errors import DomainError
from foreshock_server.notify.kinds import sync_channels
from foreshock_server.rules.check import check
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings
from foreshock_server.worker import Workers

log = logging.getLogger(__name__)

_GRACE = 5  # seconds that requests in course get when the server stops


class Refused(Exception):
    """The command cannot run; the message says what to do instead."""


def main(argv: Sequence[str]) -> int:
    """`python -m foreshock_server WORD …`."""
    words: dict[str, Callable[[Sequence[str]], int]] = {
        "serve": serve,
        "worker": worker,
        "migrate": migrate,
        "rules": rules,
    }
    if not argv or argv[0] not in words:
        print(f"usage: python -m foreshock_server {{{','.join(words)}}} …", file=sys.stderr)
        return 2
    return words[argv[0]](argv[1:])


def serve(argv: Sequence[str]) -> int:
    """Serve the API and the page; with the embedded database, everything in this one process."""
    parser = argparse.ArgumentParser("foreshock serve", description=serve.__doc__)
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one (default 8642)")
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    parser.add_argument("--ready-file", type=Path, help="write the page's address here once it answers")
    arguments = parser.parse_args(argv)
    with _sentences():
        settings = _settings(host=arguments.host, port=arguments.port, data_dir=arguments.data_dir)
        _refuse_open_doors(settings)
        listener = _listen(settings)
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        _log_to_stderr()
        app = create_app(settings)
        database: Database = app.state.database
        _bring_up_to_date(database)
        sync_channels(database, settings, time.time())
        workers = Workers(database, app.state.bus, settings, app.state.rules) if settings.workers else None
        with _signals_end_quietly():
            server = _Server(app, settings, workers, arguments.ready_file)
            server.run(sockets=[listener])
        return 0 if server.started else 1
    return 1


def worker(argv: Sequence[str]) -> int:
    """Evaluate rules and send alerts, beside `foreshock serve` processes with FORESHOCK_WORKERS=false."""
    parser = argparse.ArgumentParser("foreshock worker", description=worker.__doc__)
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    arguments = parser.parse_args(argv)
    with _sentences():
        settings = _settings(data_dir=arguments.data_dir)
        _log_to_stderr()
        database = Database(settings.url)
        _bring_up_to_date(database)
        sync_channels(database, settings, time.time())
        bus = open_bus(settings.redis_url)
        workers = Workers(database, bus, settings, RuleSet.load(settings))
        stopped = threading.Event()
        with _signals_end_quietly(stopped.set):
            workers.start()
            print("Foreshock worker: evaluates rules and sends alerts. Ctrl-C ends it.", flush=True)
            while not stopped.wait(1.0):  # in slices: a signal is only handled between two waits
                pass
            ended = workers.stop()
        bus.close()
        database.close()
        return 0 if ended else 1
    return 1


def migrate(argv: Sequence[str]) -> int:
    """Bring the database to the schema of this release."""
    parser = argparse.ArgumentParser("foreshock migrate", description=migrate.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="only say whether something is to be done (status 1)"
    )
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    arguments = parser.parse_args(argv)
    with _sentences():
        database = Database(_settings(data_dir=arguments.data_dir).url)
        try:
            if arguments.check:
                with database.migrating() as connection:
                    missing = migrations.pending(connection)
                print(f"To apply: {', '.join(missing)}." if missing else "The database is up to date.")
                return 1 if missing else 0
            applied = migrations.to_head(database)
            print(f"Applied: {', '.join(applied)}." if applied else "The database was up to date.")
            return 0
        finally:
            database.close()
    return 1


def rules(argv: Sequence[str]) -> int:
    """Check rule packs before a server reads them."""
    parser = argparse.ArgumentParser("foreshock rules", description=rules.__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    checking = words.add_parser("check", help="say what is wrong in rule packs, and where")
    checking.add_argument(
        "paths", nargs="*", type=Path, help="YAML files or folders; none: the built-in packs"
    )
    lines, good = check(parser.parse_args(argv).paths)
    for line in lines:
        print(line)
    return 0 if good else 1


class _Server(uvicorn.Server):
    """uvicorn, which also starts and ends what belongs to the process, in that order."""

    def __init__(self, app: FastAPI, settings: Settings, workers: Workers | None, ready: Path | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
                lifespan="on",
            )
        )
        self._app = app
        self._settings = settings
        self._workers = workers
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        if self._workers is not None:
            self._workers.start()
        address = self._settings.page_url
        print(f"Foreshock is at {address} (data in {self._settings.shown_url}). Ctrl-C ends it.", flush=True)
        if self._ready is not None:
            unfinished = self._ready.with_name(self._ready.name + ".part")
            unfinished.write_text(address)
            unfinished.replace(self._ready)  # whoever waits for the file never reads half of it

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.listeners.close()  # or clients that stay would hold the door open
        if self._workers is not None:
            await run_in_threadpool(self._workers.stop, _GRACE)
        await super().shutdown(sockets)


def _settings(**arguments: Any) -> Settings:
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise Refused("\n".join(_wrong(problem["loc"][0], problem) for problem in error.errors())) from None


def _wrong(field: int | str, problem: ErrorDetails) -> str:
    secret = SecretStr in get_args(Settings.model_fields[str(field)].annotation)
    value = "" if secret else f"; it is {problem['input']!r}"
    return f"FORESHOCK_{str(field).upper()}: {problem['msg'].removeprefix('Value error, ')}{value}."


def _refuse_open_doors(settings: Settings) -> None:
    if is_loopback(settings.host) or settings.api_key is not None:
        return
    raise Refused(
        f"Listening on {settings.host} lets others reach this server, so it needs a key. Make one with\n"
        "  python -c 'import secrets; print(secrets.token_urlsafe(32))'\n"
        f"and start with it, here and in the training jobs:\n"
        f"  FORESHOCK_API_KEY=… foreshock serve --host {settings.host}"
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
        # asyncio sets this only on sockets whose protocol number is TCP's, and create_server leaves it 0: without it every
        # answer on a kept connection waits some 40 ms for the client's delayed acknowledgement. Accepted sockets inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise Refused(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Choose another with --port; --port 0 takes a free one."
        ) from None


def _bring_up_to_date(database: Database) -> None:
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


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("foreshock_server").setLevel(logging.INFO)


@contextmanager
def _signals_end_quietly(then: Callable[[], None] = lambda: None) -> Iterator[None]:
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
def _sentences() -> Iterator[None]:
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
