"""Stored blocks behind a durable cursor -> Alert rows, Transition rows and messages, in one transaction with the cursor.

What a run's rules remember stays in memory while this process works on the run. Blocks are judged from one moment of the database
and without holding anything; what came of them is stored under the run's lock, and only if no cursor of the run has moved since:
at once when an alert fires, resolves or grows critical, else after `settle` seconds. So a kill at any moment leaves the cursor where it was and
the same blocks are judged again with the same result, and of two evaluators with the same blocks one stores and the other forgets.

A series goes on across the attempts of its run: memory, baseline and a firing alert survive a resume, and the step may go back.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.errors import RunDeleted, UnknownRun
from foreshock_server.leases import AllMine, Leases
from foreshock_server.models import Run
from foreshock_server.rules.detectors import Absence
from foreshock_server.rules.judge import Judge
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.memory import Memory, Reach, WriterKey, alive, not_quiet, reach_of, waiting
from foreshock_server.rules.own.book import Rulebook
from foreshock_server.rules.silences import due
from foreshock_server.rules.storing import store
from foreshock_server.settings import Settings
from foreshock_server.telemetry import of_run

log = logging.getLogger(__name__)

T = TypeVar("T")

# A run that fails to evaluate is tried again after so long, and stalls no other meanwhile.
ASIDE_SECONDS = 60.0
SETTLE_SECONDS = 5.0  # how old what only this process knows may become …
SETTLE_SHARE = 0.04  # … where storing it takes no more than this share of the time, else older, …
LONGEST_SETTLE = 30.0  # … as far as this
SETTLE_BLOCKS = 512  # and how much of it a kill may cost to judge again
SETTLE_SLICE = 0.25  # seconds after which what can wait gives way to what is new
ADOPT_SECONDS = 30.0  # between looks for runs that go on without anything new, where a rule waits for that
ADOPT_FOR_SECONDS = 86_400.0  # and nothing changed in them for no longer than this
IDLE_SECONDS = 600.0  # after which a run's memory is dropped: it can be read again
# SQLite has one writer and syncs its file for each transaction, so runs share one, a few, as ingest waits meanwhile. PostgreSQL
# commits side by side, where holding several runs' locks would make ingest wait and could deadlock with it.
RUNS_TOGETHER = 16


class Evaluator:
    """Judges what is new. Any number of them may run, in threads and in processes; one object is one thread's."""

    def __init__(
        self,
        database: Database,
        rules: RuleSet | Rulebook,
        bus: Bus,
        settings: Settings,
        *,
        leases: Leases | None = None,
        settle: float = 0.0,
        clock: Callable[[], float] = time.time,
        passing: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` says when it is, ``passing`` how old what is not stored becomes."""
        self.database = database
        self.bus = bus
        self.settings = settings
        self._leases = leases or AllMine()
        self._settle = settle
        self._storing = 0.0  # seconds that storing a run took, about, waiting for the database included
        self._clock, self._passing = clock, passing
        self._book = rules if isinstance(rules, Rulebook) else Rulebook(rules)
        self._use(self._book.files)
        self._outdated: set[str] = set()  # rules that are others than a moment ago, or gone
        self._memories: dict[str, Memory] = {}
        self._used: dict[str, float] = {}  # run -> when its memory last was, on the monotonic clock
        self._aside: dict[str, float] = {}  # run -> when to try it again
        self._adopts_at = 0.0
        self.behind = False  # the last round left blocks that it had seen

    def run_once(self) -> int:
        """Evaluate some of what is new in each run; the number of blocks. Zero: there is nothing to do now."""
        now = self._clock()
        self.behind = False
        with self.database.reading() as session:
            rules = self._book.look(session)
            if rules is not self.rules and not self._memories:
                self._follow(rules)
            blocks = {
                run_id: self._guarded(run_id, partial(self._evaluate, session, run_id, reach), now, 0)
                for run_id, reach in waiting(session).items()
                if self._aside.get(run_id, now) <= now and self._leases.mine(run_id)
            }
            self._look(session, now)
            self._retire(session, now)
        urgent, patient = self._due()
        lost = self._store_all(urgent, now) | self._store_all(patient, now, SETTLE_SLICE)
        if rules is not self.rules:
            self._follow(rules)
        self._forget()
        return sum(number for run_id, number in blocks.items() if run_id not in lost)

    def settle(self) -> None:
        """Store what is not stored yet."""
        self._store_all([one for one in self._memories.values() if one.since is not None], self._clock())

    def close(self) -> None:
        """The same, and remember nothing."""
        self.settle()
        self._memories.clear()

    def _evaluate(self, session: Session, run_id: str, reach: Mapping[WriterKey, Reach]) -> int:
        memory = self._memories.get(run_id)
        if memory is None or not memory.agrees(reach):
            memory = self._memories[run_id] = Memory.load(session, run_id, self.rules)
        elif memory.has_seen(reach):
            return 0
        blocks = self._judge(session, memory, reach)
        self.behind = self.behind or not memory.has_seen(reach)
        self._used[run_id] = self._passing()
        if memory.since is None:
            memory.since = self._used[run_id]
        return blocks

    def _use(self, rules: RuleSet) -> None:
        self.rules = rules
        self._judge = Judge(rules)
        self._waits = any(
            isinstance(rule.detector, Absence) and rule.detector.seconds for rule in rules.rules
        )

    def _follow(self, rules: RuleSet) -> None:
        """Somebody changed rules: what was judged with the old ones is stored, and the next round begins with the new ones."""
        self.settle()
        self._forget_runs(list(self._memories))
        now = {rule.id: rule for rule in rules.rules}
        self._outdated |= {
            rule.id
            for rule in self.rules.rules
            if now.get(rule.id) is not rule or rules.own.get(rule.id) != self.rules.own.get(rule.id)
        }
        # one that stands in for another, or no longer does, changes that as well
        self._outdated |= {
            scope.replaces for one in (rules, self.rules) for scope in one.own.values() if scope.replaces
        }
        self._use(rules)

    def _retire(self, session: Session, now: float) -> None:
        """Alerts of rules that are no longer in force for their run are resolved, also where nothing new comes from the run."""
        outdated, self._outdated = self._outdated, set()
        for run_id in not_quiet(session, outdated) if outdated else ():
            if run_id not in self._memories and self._leases.mine(run_id):
                self._guarded(run_id, partial(self._adopt, session, run_id), now, None)
                memory = self._memories.get(run_id)
                if memory is not None and memory.retired:
                    self._judge.retire(session, memory)
                    memory.since = self._passing()

    def _look(self, session: Session, now: float) -> None:
        """At the runs of which a series is overdue, though nothing of them is new."""
        if not self._waits:
            return
        if now >= self._adopts_at:
            self._adopts_at = now + ADOPT_SECONDS
            for run_id in alive(session, now - ADOPT_FOR_SECONDS):
                if (
                    run_id not in self._memories
                    and self._aside.get(run_id, now) <= now
                    and self._leases.mine(run_id)
                ):
                    self._guarded(run_id, partial(self._adopt, session, run_id), now, None)
        for run_id, memory in list(self._memories.items()):
            at = due(memory)
            if at is not None and at < now and self._leases.mine(run_id):
                self._guarded(run_id, partial(self._overdue, session, memory, now), now, None)

    def _adopt(self, session: Session, run_id: str) -> None:
        """A run that goes on without anything new, as when it was another worker's, or this process is young."""
        self._memories[run_id] = Memory.load(session, run_id, self.rules)
        self._used[run_id] = self._passing()

    def _overdue(self, session: Session, memory: Memory, now: float) -> None:
        run, reach = session.get(Run, memory.run_id), reach_of(session, memory.run_id)
        if run is None or not (memory.agrees(reach) and memory.has_seen(reach)):
            return  # what has arrived is judged first
        self._judge.look(session, memory, run, now)
        if memory.touched and memory.since is None:
            memory.since = self._passing()

    def _due(self) -> tuple[list[Memory], list[Memory]]:
        """What shall be stored now: at once, and in turn, those first that have waited longest."""
        unsaved = [one for one in self._memories.values() if one.since is not None]
        dear = min(LONGEST_SETTLE, len(unsaved) * self._storing / SETTLE_SHARE) if self._settle else 0.0
        since = self._passing() - max(self._settle, dear)
        urgent, patient = [], []
        for one in sorted(unsaved, key=lambda one: one.since or 0.0):
            if one.urgent or not self._leases.mine(one.run_id):
                urgent.append(one)
            elif (one.since or 0.0) <= since or one.blocks >= SETTLE_BLOCKS:
                patient.append(one)
        return urgent, patient

    def _store_all(self, memories: Sequence[Memory], now: float, seconds: float = math.inf) -> set[str]:
        """The runs that were to be stored and are not, as others were faster or it failed; some may be left for later."""
        lost: set[str] = set()
        together = RUNS_TOGETHER if self.database.is_sqlite else 1
        until = time.monotonic() + seconds
        for start in range(0, len(memories), together):
            some = memories[start : start + together]
            kept: set[str] = set()
            try:
                kept |= self._store(some, now) if len(some) > 1 else self._store_alone(some[0], now)
            except DBAPIError:
                self._drop(some)
                raise
            except Exception:  # noqa: BLE001 (of one of them: which, shows when each is alone)
                for one in some:
                    kept |= self._store_alone(one, now)
            lost |= {one.run_id for one in some} - kept
            if time.monotonic() > until:
                break
        return lost

    def _store_alone(self, memory: Memory, now: float) -> set[str]:
        return self._guarded(memory.run_id, partial(self._store, [memory], now), now, set())

    def _store(self, memories: Sequence[Memory], now: float) -> set[str]:
        began = time.monotonic()
        for one in memories:
            one.settle()
        with self.database.writing() as session:
            kept = {one.run_id for one in memories if store(session, one, now)}
        took = (time.monotonic() - began) / len(memories)
        self._storing += 0.2 * (took - self._storing)
        self._drop([one for one in memories if one.run_id not in kept])
        for one in memories:
            if one.run_id in kept:
                if one.visible:
                    self.bus.publish(one.run_id)
                one.stored()
        return kept

    @of_run(str)
    def _guarded(self, run_id: str, work: Callable[[], T], now: float, otherwise: T) -> T:
        """What the work returns; when it fails, the run's memory is dropped and the run put aside."""
        try:
            done = work()
        except Exception as error:
            self._forget_runs([run_id])
            if isinstance(error, DBAPIError):
                raise  # the database, not this run: whoever runs the loop waits and tries again
            if not isinstance(error, (RunDeleted, UnknownRun)):  # since we looked
                self._aside[run_id] = now + ASIDE_SECONDS
                log.exception(
                    "Run %s: its new blocks could not be evaluated, so its alerts stand still. Nothing is lost; "
                    "they are tried again in %.0f seconds.",
                    run_id,
                    ASIDE_SECONDS,
                )
            return otherwise
        self._aside.pop(run_id, None)
        return done

    def _forget(self) -> None:
        """The memories of runs that nothing comes from."""
        old = self._passing() - IDLE_SECONDS
        idle = [run_id for run_id, at in self._used.items() if at < old]
        self._forget_runs(
            [one for one in idle if one not in self._memories or due(self._memories[one]) is None]
        )

    def _drop(self, memories: Iterable[Memory]) -> None:
        self._forget_runs([one.run_id for one in memories])

    def _forget_runs(self, runs: Iterable[str]) -> None:
        for run_id in runs:
            self._memories.pop(run_id, None)
            self._used.pop(run_id, None)
