"""Somebody who opens a run's page in Chromium again and again while the server is busy -> milliseconds until the first chart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.page import OUR_CHART, chromium, visit_once
from tests.bench.service import Server

EVERY = 20.0  # seconds between two visits
FIRST = 10.0  # seconds until the run has something to show


@contextmanager
def looking(server: Server, run: str, wanted: bool) -> Iterator[list[float]]:
    """Milliseconds of each visit so far; nothing when it is not wanted."""
    spent: list[float] = []
    ended = threading.Event()

    def look() -> None:
        ended.wait(FIRST)
        with chromium() as browser:
            while not ended.is_set():
                spent.append(visit_once(browser.new_context, f"{server.url}/runs/{run}", OUR_CHART))
                ended.wait(EVERY)

    thread = threading.Thread(target=look, name="looking")
    if wanted:
        thread.start()
    try:
        yield spent
    finally:
        ended.set()
        if wanted:
            thread.join()
