"""`foreshock worker`: evaluates rules and sends alerts, beside servers that do not."""

from __future__ import annotations

import argparse
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foreshock_server.bus import open_bus
from foreshock_server.cli.beside import REPORT_EVERY
from foreshock_server.cli.common import (
    bring_up_to_date,
    sentences,
    settings_from,
    signals_end_quietly,
    work_evenly,
)
from foreshock_server.db import Database
from foreshock_server.link import Link
from foreshock_server.notify.settled import sync_channels
from foreshock_server.rules.load import RuleSet
from foreshock_server.telemetry.logs import log_to_stderr
from foreshock_server.worker import Stage, Workers


def worker(argv: Sequence[str]) -> int:
    """Evaluate rules and send alerts, beside `foreshock serve` processes with FORESHOCK_WORKERS=false."""
    parser = argparse.ArgumentParser("foreshock worker", description=worker.__doc__)
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    parser.add_argument("--link", type=int, help=argparse.SUPPRESS)  # the server that began it, see beside.py
    arguments = parser.parse_args(argv)
    work_evenly()
    with sentences():
        settings = settings_from(data_dir=arguments.data_dir)
        log_to_stderr(settings)
        database = Database(settings.url)
        bring_up_to_date(database)
        sync_channels(database, settings, time.time())
        stopped = threading.Event()
        link = _linked(arguments.link, stopped)
        bus = link if link is not None and not settings.redis_url else open_bus(settings.redis_url)
        workers = Workers(database, bus, settings, RuleSet.load(settings))
        with signals_end_quietly(stopped.set):
            workers.start()
            if link is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's, which then ends us
            else:
                print("Foreshock worker: evaluates rules and sends alerts. Ctrl-C ends it.", flush=True)
            while not stopped.wait(REPORT_EVERY):  # in slices: a signal is only handled between two waits
                if link is not None:
                    link.report({stage.name: _told(stage) for stage in workers.stages})
            ended = workers.stop()
        bus.close()
        if link is not None:
            link.close()
        database.close()
        return 0 if ended else 1
    return 1


def _linked(number: int | None, stopped: threading.Event) -> Link | None:
    """Its end of the link to the server that began it, with whose life it ends; None: it stands alone."""
    if number is None:
        return None
    link = Link(ended=stopped.set)
    link.join(socket.socket(fileno=number))
    return link


def _told(stage: Stage) -> dict[str, Any]:
    return {"rounds": stage.rounds, "failed_rounds": stage.failed_rounds, "problem": stage.problem()}
