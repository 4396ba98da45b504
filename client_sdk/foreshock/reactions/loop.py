"""Alerts that were heard -> what was installed for them, done on the training thread; on several ranks decided by the first."""

from __future__ import annotations

import fnmatch
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from foreshock.control import Alert, Control, StopTraining
from foreshock.guard import fault, guard, log, say_once

from .action import Action
from .agreement import Decision, shared, world
from .audit import Acted, Audit, State

MOST_WAITING = 100  # decisions that nobody has agreed on
Record = Callable[[Mapping[str, float]], object]


@dataclass(frozen=True)
class Reaction:
    """What is done about alerts of some rules."""

    action: Action
    rules: str | None  # a glob; None: all
    resolved: bool = False
    dry_run: bool = False
    audited: bool = True

    def wants(self, alert: Alert) -> bool:
        """True when this alert is one of them."""
        named = self.rules is None or fnmatch.fnmatchcase(alert.rule, self.rules)
        return named and self.resolved == (alert.state == "resolved")


class Loop:
    """The reactions of one run."""

    def __init__(self, control: Control) -> None:
        self.audit = Audit()
        self._control = control
        self._reactions: list[Reaction] = []
        self._waiting: deque[Decision] = deque()
        self._calls = 0

    def add(self, reaction: Reaction) -> None:
        """From now on, also that."""
        self._reactions.append(reaction)

    def speak(self, step: int, record: Record | None) -> None:
        """React to what is new. Only StopTraining leaves, when all the rest is done; any other exception is counted and said."""
        from foreshock.provenance import place_in_job  # it imports numpy, and most runs hear of nothing

        rank, size = place_in_job(os.environ)
        stop: StopTraining | None = None
        while self._control.news:
            alert = self._control.news.popleft()
            for number, reaction in enumerate(list(self._reactions)):
                if not reaction.wants(alert) or (reaction.action.together and rank != 0):
                    continue
                value = self._decided(reaction, alert, step, record)
                if value is None:
                    continue
                if reaction.action.together and size > 1 and not reaction.dry_run:
                    self._wait(Decision(number, reaction.action.name, alert, value))
                else:
                    stop = self._perform(reaction, alert, value, step, record) or stop
        if stop is not None:
            raise stop

    def agree(self, step: int, record: Record | None, every: int, group: Any) -> None:
        """Apply what the first rank has decided: a collective, at each `every`-th call, where there are several ranks."""
        self._calls += 1
        if self._calls % max(1, every) or world(group) < 2:
            return
        decisions: list[Decision] = []
        with guard("agreeing on an action"):
            decisions = shared(self._waiting, group)
        stop: StopTraining | None = None
        for one in decisions:
            known = self._reactions[one.reaction] if one.reaction < len(self._reactions) else None
            if known is None or known.action.name != one.name:
                say_once(
                    ("unknown action", one.name),
                    "the first rank decided on %r, which this rank has not: call on_alert alike, in one order, on all ranks",
                    one.name,
                )
                continue
            stop = self._perform(known, one.alert, one.value, step, record) or stop
        if stop is not None:
            raise stop

    def _wait(self, decision: Decision) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
        self._waiting.append(decision)
        if not self._calls:
            say_once(
                ("agree", id(self)),
                "%r waits until all ranks call run.agree(), say once per step: it must be done by all of them at the same step",
                decision.name,
            )

    def _decided(self, reaction: Reaction, alert: Alert, step: int, record: Record | None) -> float | None:
        try:
            return reaction.action.decide(alert)
        except Exception as error:  # noqa: BLE001 (the user's own function: it must not end the training by accident)
            self._failed(reaction, alert, 0.0, step, record, error)
            return None

    def _perform(
        self, reaction: Reaction, alert: Alert, value: float, step: int, record: Record | None
    ) -> StopTraining | None:
        if reaction.dry_run:
            self._note(reaction, alert, value, step, record, "dry run")
            return None
        stop: StopTraining | None = None
        try:
            reaction.action.apply(alert, value)
        except StopTraining as asked:
            stop = asked
        except Exception as error:  # noqa: BLE001 (the user's own function: it must not end the training by accident)
            self._failed(reaction, alert, value, step, record, error)
            return None
        self._note(reaction, alert, value, step, record, "applied")
        return stop

    def _failed(
        self,
        reaction: Reaction,
        alert: Alert,
        value: float,
        step: int,
        record: Record | None,
        error: Exception,
    ) -> None:
        name = reaction.action.name
        fault(f"alert {name}")
        say_once(("callback", name), "%s raised %r on an alert; training goes on", name, error)
        log.debug("its error", exc_info=error)
        self._note(reaction, alert, value, step, record, "failed", repr(error)[:200])

    def _note(
        self,
        reaction: Reaction,
        alert: Alert,
        value: float,
        step: int,
        record: Record | None,
        state: State,
        error: str = "",
    ) -> None:
        if reaction.audited:
            with guard("writing an action down"):
                entry = Acted(step, reaction.action.name, alert.rule, state, value, alert.message, error)
                self.audit.add(entry, record)
