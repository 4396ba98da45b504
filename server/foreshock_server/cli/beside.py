"""A worker in a process of its own, for as long as a server lives: its hints are ours, its stages are shown as ours."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from foreshock_server.link import Link, Report, pair
from foreshock_server.settings import Settings
from foreshock_server.worker import STAGES

log = logging.getLogger(__name__)

REPORT_EVERY = 1.0  # seconds
SILENT_AFTER = 30.0  # seconds without a report
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before an ended worker is started again
_STEADY = 60.0  # seconds after which a worker that ends had been well


class WorkerProcess:
    """Starts it, starts it again when it dies, ends it. It ends by itself when this process is no more."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self.stages = [ToldStage(name, self) for name in STAGES]
        self._settings = settings
        self._link = link
        self._child: subprocess.Popen[bytes] | None = None
        self._down_since: float | None = None
        self._told_at = 0.0
        self._stopping = threading.Event()
        link.on_report(self.hear)
        self._keeper = threading.Thread(target=self._keep, name="foreshock-keep worker", daemon=True)

    @property
    def pid(self) -> int | None:
        """Of the worker that runs now."""
        child = self._child
        return None if child is None else child.pid

    def start(self) -> None:
        """Begin."""
        self._keeper.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """End it; True when it did within these seconds by itself."""
        self._stopping.set()
        child, ended = self._child, True
        if child is not None:
            child.terminate()
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                ended = False
        if self._keeper.ident is not None:
            self._keeper.join(timeout)
        self._link.close()
        return ended

    def hear(self, report: Report) -> None:
        """What the worker says of its stages, by name."""
        self._told_at = time.monotonic()
        for stage in self.stages:
            stage.hear(report[stage.name])

    def problem(self) -> tuple[str, float] | None:
        """What is wrong with all of it, and for how many seconds."""
        now, down = time.monotonic(), self._down_since
        if self._stopping.is_set():
            return None
        if down is not None:
            return "the worker process ended and is started again", now - down
        if self._told_at and now - self._told_at > SILENT_AFTER:
            return "the worker process says nothing", now - self._told_at
        return None

    def _keep(self) -> None:
        wait = _FIRST_WAIT
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                how = f"status {self._one()}"
            except OSError as error:
                how = error.strerror or str(error)
            if self._stopping.is_set():
                return
            self._down_since = self._down_since or time.monotonic()
            wait = _FIRST_WAIT if time.monotonic() - began > _STEADY else min(2 * wait, _LONGEST_WAIT)
            log.warning("the worker process ended (%s), another starts in %.1f s", how, wait)
            self._stopping.wait(wait)

    def _one(self) -> int:
        ours, theirs = pair()
        words = [sys.executable, "-m", "foreshock_server", "worker", "--link", str(theirs.fileno())]
        try:
            child = subprocess.Popen(words, env=self._environment(), pass_fds=[theirs.fileno()])  # noqa: S603 (our own words)
        finally:
            theirs.close()
        self._child = child
        self._link.join(ours)
        if self._stopping.is_set():
            child.terminate()
        self._told_at, self._down_since = time.monotonic(), None
        return child.wait()

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        said = {"HOST": settings.host, "PORT": str(settings.port), "DATA_DIR": str(settings.data_dir)}
        return {**os.environ, **{f"FORESHOCK_{name}": value for name, value in said.items()}}


class ToldStage:
    """One of the worker's, as it last told."""

    def __init__(self, name: str, process: WorkerProcess) -> None:
        self.name = name
        self.rounds = 0  # that ended well, of the worker that runs now
        self.failed_rounds = 0
        self._process = process
        self._problem: tuple[str, float] | None = None

    def hear(self, told: Mapping[str, Any]) -> None:
        """What the worker says of it."""
        self.rounds, self.failed_rounds = int(told["rounds"]), int(told["failed_rounds"])
        problem = told["problem"]
        self._problem = None if problem is None else (str(problem[0]), float(problem[1]))

    def problem(self) -> tuple[str, float] | None:
        """The whole worker's, else its own."""
        return self._process.problem() or self._problem
