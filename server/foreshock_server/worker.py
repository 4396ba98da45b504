"""Hints -> work: threads that merge ranks, evaluate rules, send alerts and clean up until they are stopped, whatever fails meanwhile."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.incidents.keeper import Keeper
from foreshock_server.leases import open_leases
from foreshock_server.lifecycle.cleanup import Cleaner
from foreshock_server.notify.worker import Deliverer
from foreshock_server.ranks.merger import Merger
from foreshock_server.rules.evaluator import SETTLE_SECONDS, Evaluator
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.own.book import Rulebook
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.sealing.tallier import Tallier
from foreshock_server.settings import Settings
from foreshock_server.store.outbox import Parcel

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds between looks without a hint
LOOK_SELDOM = 5.0  # of stages whose work nobody is paged by
LONGEST_BACKOFF = 30.0  # seconds between tries of a failing stage
FAILING_AFTER = 10.0  # seconds of a stage that only fails: one bad moment is none
STUCK_AFTER = 300.0  # seconds of one round
REST = 10.0  # times as long as it worked, a stage that rests does nothing: so it takes a tenth of a core …
LONGEST_REST = 1.0  # … as long as a rest of so many seconds suffices; hints meanwhile are work for one round
LONGEST_REST_OF_COUNTS = 15.0  # nobody waits for them: readers count what is new themselves (store/latest.py)
LONGEST_REST_OF_SEALS = 10.0
STAGES = ("merge ranks", "evaluate", "count", "seal", "look after incidents", "clean up", "deliver")
PAUSE = 0.2  # seconds between two rounds of what few hints are about: every stored block hints at every stage
LONG_PAUSE = 1.0  # of what nobody waits for


class Stage:
    """One thread that runs `run_once` whenever a hint arrives, `look_every` seconds have passed, or its own work is due.

    One that rests takes what arrives in a short time together: what one round costs whatever it finds is shared by more, the
    more there is to do. With little to do its rests are too short to be noticed. While it is `behind` it does not rest. A `pause`
    is the shortest rest.
    """

    def __init__(
        self,
        name: str,
        run_once: Callable[[], int],
        bus: Bus,
        *,
        next_due: Callable[[], float | None] = lambda: None,
        pause: float = 0.0,
        longest_rest: float = 0.0,
        look_every: float = LOOK_EVERY,
        behind: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.failures = 0  # in a row
        self.rounds = 0  # that ended well
        self.failed_rounds = 0
        self._failing_since: float | None = None
        self._round_since: float | None = None
        self._run_once = run_once
        self._next_due = next_due
        self._pause = pause
        self._longest_rest = longest_rest
        self._look_every = look_every
        self._behind = behind
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

    def problem(self) -> tuple[str, float] | None:
        """Why this stage does not do its work, and for how many seconds; None when it does, or ended as it was told to."""
        now = time.monotonic()
        if self._stopping.is_set():
            return None
        if not self._thread.is_alive():
            return "is not running", 0.0
        failing, round_since = self._failing_since, self._round_since
        if failing is not None and now - failing > FAILING_AFTER:
            return f"failed {self.failures} times in a row; the log says why", now - failing
        if round_since is not None and now - round_since > STUCK_AFTER:
            return "hangs in one round", now - round_since
        return None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()  # before the work: a hint during it means another round
            began = time.monotonic()
            try:
                while not self._stopping.is_set() and self._round() > 0 and self._behind():
                    pass
                wait = min(self._look_every, self._until_due())
                self.failures, self._failing_since = 0, None
            except Exception:  # a stage outlives what it cannot do; the durable cursors keep the work
                self.failures += 1
                self.failed_rounds += 1
                if self._failing_since is None:
                    self._failing_since = time.monotonic()
                wait = min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(self.failures, 10))
                log.exception(
                    "%s failed %d times in a row, trying again in %.0f s", self.name, self.failures, wait
                )
                self._stopping.wait(wait)
                continue
            rest = max(self._pause, min(self._longest_rest, REST * (time.monotonic() - began)))
            if rest:
                self._stopping.wait(rest)
                wait = max(0.0, wait - rest)
            self._woken.wait(wait)

    def _round(self) -> int:
        self._round_since = time.monotonic()
        try:
            done = self._run_once()
            self.rounds += 1
        finally:
            self._round_since = None
        return done

    def _until_due(self) -> float:
        due = self._next_due()
        return math.inf if due is None else max(0.01, due - time.time())


def _picture_of(session: Session, parcel: Parcel) -> bytes | None:
    """Imported when the first is drawn: figures bring plotly, of which a worker needs nothing else."""
    from foreshock_server.figures.alarm import picture_of

    return picture_of(session, parcel)


class Workers:
    """The merger of ranks, the evaluator, the counter of readings, the sealer, the cleaner and the deliverer, each on its thread."""

    def __init__(self, database: Database, bus: Bus, settings: Settings, rules: RuleSet) -> None:
        self._leases = open_leases(settings.redis_url, settings.url)
        book = Rulebook(rules)
        self._evaluator = Evaluator(database, book, bus, settings, leases=self._leases, settle=SETTLE_SECONDS)
        tallier = Tallier(database, leases=self._leases)
        self._deliverer = Deliverer(
            database,
            settings,
            bus,
            runbook_of=book.runbook_of,
            picture_of=_picture_of if find_spec("PIL") else None,
        )
        self.stages = [
            Stage(
                "merge ranks",
                Merger(database, bus, leases=self._leases).run_once,
                bus,
                pause=PAUSE,
                longest_rest=LONGEST_REST,
                look_every=LOOK_SELDOM,
            ),
            Stage(
                "evaluate",
                self._evaluator.run_once,
                bus,
                longest_rest=LONGEST_REST,
                behind=lambda: self._evaluator.behind,
            ),
            Stage(
                "count",
                tallier.run_once,
                bus,
                longest_rest=LONGEST_REST_OF_COUNTS,
                look_every=LOOK_SELDOM,
                behind=lambda: tallier.behind,
            ),
            Stage(
                "seal",
                Sealer(database, leases=self._leases).run_once,
                bus,
                pause=LONG_PAUSE,
                longest_rest=LONGEST_REST_OF_SEALS,
                look_every=LOOK_SELDOM,
            ),
            Stage("look after incidents", Keeper(database, bus).run_once, bus, pause=LONG_PAUSE),
            Stage(
                "clean up",
                Cleaner(database, bus, delivery_days=settings.delivery_days).run_once,
                bus,
                pause=LONG_PAUSE,
                look_every=LOOK_SELDOM,
            ),
            Stage("deliver", self._deliverer.run_once, bus, next_due=self._deliverer.next_due, pause=PAUSE),
        ]

    def start(self) -> None:
        """Begin."""
        for stage in self.stages:
            stage.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """End; True when all did within these seconds. What was cut short is done again later, by whoever runs."""
        until = time.monotonic() + timeout
        self._deliverer.close()
        each = [stage.stop(until - time.monotonic()) for stage in self.stages]
        ended = all(each)
        if ended:
            try:
                self._evaluator.close()
            except DBAPIError as error:
                log.warning("The last evaluations could not be stored and will be done again: %s", error)
        self._leases.close()
        return ended
