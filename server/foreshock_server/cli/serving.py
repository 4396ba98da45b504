"""`foreshock serve`: the API and the page, and beside it, in a process of its own, what works on what is stored."""

from __future__ import annotations

import argparse
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from foreshock_server.app import create_app
from foreshock_server.app.http import LONGEST_HEAD, Http
from foreshock_server.app.page import prepare
from foreshock_server.app.readiness import watch
from foreshock_server.auth.gate import is_loopback
from foreshock_server.cli.beside import WorkerProcess
from foreshock_server.cli.common import (
    Refused,
    bring_up_to_date,
    sentences,
    settings_from,
    signals_end_quietly,
    work_evenly,
)
from foreshock_server.db import Database
from foreshock_server.link import Link
from foreshock_server.notify.settled import sync_channels
from foreshock_server.settings import Settings
from foreshock_server.store.keys import any_key
from foreshock_server.telemetry.logs import log_to_stderr
from foreshock_server.worker import Workers

_GRACE = 5  # seconds that requests in course get when the server stops


def serve(argv: Sequence[str]) -> int:
    """Serve the API and the page, evaluate rules and send alerts: nothing else is needed."""
    parser = argparse.ArgumentParser("foreshock serve", description=serve.__doc__)
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one (default 8642)")
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    parser.add_argument("--ready-file", type=Path, help="write the page's address here once it answers")
    arguments = parser.parse_args(argv)
    work_evenly()
    with sentences():
        settings = settings_from(host=arguments.host, port=arguments.port, data_dir=arguments.data_dir)
        log_to_stderr(settings)
        _refuse_open_doors(settings)
        listener = _listen(settings)
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        link = Link() if settings.workers == "process" else None
        app = create_app(settings, None if settings.redis_url else link)
        database: Database = app.state.database
        bring_up_to_date(database)
        sync_channels(database, settings, time.time())
        workers: Workers | WorkerProcess | None = None
        if link is not None:
            workers = WorkerProcess(settings, link)
        elif settings.workers:
            workers = Workers(database, app.state.bus, settings, app.state.rules)
        if workers is not None:
            watch(app, list(workers.stages))
        with signals_end_quietly():
            server = _Server(app, settings, workers, arguments.ready_file)
            server.run(sockets=[listener])
        return 0 if server.started else 1
    return 1


class _Server(uvicorn.Server):
    """uvicorn, which also starts and ends what belongs to the process, in that order."""

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        workers: Workers | WorkerProcess | None,
        ready: Path | None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                http=Http,
                ws="none",  # or uvicorn hands requests to whatever library for it is installed, past our checks
                h11_max_incomplete_event_size=LONGEST_HEAD,
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
        threading.Thread(target=prepare, name="prepare the page", daemon=True).start()
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


def _refuse_open_doors(settings: Settings) -> None:
    if is_loopback(settings.host) or settings.api_key is not None:
        return
    database = Database(settings.url)
    try:
        bring_up_to_date(database)
        with database.reading() as session:
            if any_key(session):
                return
    finally:
        database.close()
    raise Refused(
        f"Listening on {settings.host} lets others reach this server, so it needs a key. Make one with\n"
        "  foreshock keys create first --scope admin\n"
        "beside the same database, then start again. The training jobs bring theirs in FORESHOCK_API_KEY; "
        "the page asks for one.\n"
        f"(Or give the server one that may do everything: FORESHOCK_API_KEY=… foreshock serve --host {settings.host})"
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
