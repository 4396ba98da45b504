"""`foreshock worker`: evaluates rules and sends alerts, beside servers that do not."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from foreshock_server.bus import open_bus
from foreshock_server.cli.common import (
    bring_up_to_date,
    sentences,
    settings_from,
    signals_end_quietly,
    work_evenly,
)
from foreshock_server.db import Database
from foreshock_server.notify.settled import sync_channels
from foreshock_server.rules.load import RuleSet
from foreshock_server.telemetry.logs import log_to_stderr
from foreshock_server.worker import Workers


def worker(argv: Sequence[str]) -> int:
    """Evaluate rules and send alerts, beside `foreshock serve` processes with FORESHOCK_WORKERS=false."""
    parser = argparse.ArgumentParser("foreshock worker", description=worker.__doc__)
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    arguments = parser.parse_args(argv)
    work_evenly()
    with sentences():
        settings = settings_from(data_dir=arguments.data_dir)
        log_to_stderr(settings)
        database = Database(settings.url)
        bring_up_to_date(database)
        sync_channels(database, settings, time.time())
        bus = open_bus(settings.redis_url)
        workers = Workers(database, bus, settings, RuleSet.load(settings))
        stopped = threading.Event()
        with signals_end_quietly(stopped.set):
            workers.start()
            print("Foreshock worker: evaluates rules and sends alerts. Ctrl-C ends it.", flush=True)
            while not stopped.wait(1.0):  # in slices: a signal is only handled between two waits
                pass
            ended = workers.stop()
        bus.close()
        database.close()
        return 0 if ended else 1
    return 1
