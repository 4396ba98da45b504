"""Hints -> work: threads that merge ranks, evaluate rules and send alerts until they are stopped, whatever fails meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.notify.worker import Deliverer
from foreshock_server.ranks.merger import Merger
from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds between looks without a hint
LONGEST_BACKOFF = 30.0  # seconds between tries of a failing stage


class Stage:
    """One thread that runs `run_once` whenever a hint arrives, a second has passed, or its own work is due."""

    def __init__(
        self,
        name: str,
        run_once: Callable[[], int],
        bus: Bus,
        *,
        next_due: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.name = name
        self.failures = 0  # in a row
        self._run_once = run_once
        self._next_due = next_due
        self._bus = bus
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"foreshock-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._unsubscribe = self._bus.subscribe(lambda _run: self._woken.set())
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Begin nothing new; True when what was in course ended within these seconds."""
        self._unsubscribe()
        self._stopping.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()  # before the work: a hint during it means another round
            try:
                while not self._stopping.is_set() and self._run_once() > 0:
                    pass
                wait = min(LOOK_EVERY, self._until_due())
                self.failures = 0
            except Exception:  # a stage outlives what it cannot do; the durable cursors keep the work
                self.failures += 1
                wait = min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(self.failures, 10))
                log.exception(
                    "%s failed %d times in a row, trying again in %.0f s", self.name, self.failures, wait
                )
                self._stopping.wait(wait)
                continue
            self._woken.wait(wait)

    def _until_due(self) -> float:
        due = self._next_due()
        return LOOK_EVERY if due is None else max(0.01, due - time.time())


class Workers:
    """The merger of ranks, the evaluator and the deliverer, each on its thread."""

    def __init__(self, database: Database, bus: Bus, settings: Settings, rules: RuleSet) -> None:
        evaluator = Evaluator(database, rules, bus, settings)
        self._deliverer = Deliverer(database, settings, bus, runbook_of=rules.runbook_of)
        self.stages = [
            Stage("merge ranks", Merger(database, bus).run_once, bus),
            Stage("evaluate", evaluator.run_once, bus),
            Stage("deliver", self._deliverer.run_once, bus, next_due=self._deliverer.next_due),
        ]

    def start(self) -> None:
        """Begin."""
        for stage in self.stages:
            stage.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """End; True when all did within these seconds. What was cut short is done again later, by whoever runs."""
        until = time.monotonic() + timeout
        self._deliverer.close()
        ended = [stage.stop(until - time.monotonic()) for stage in self.stages]
        return all(ended)
