"""What a run's rules say -> incidents, and who is told what about them, in the transaction that stores the transitions.

Rules speak once per trouble (rules/incidents.py); here what rules of one family say at the same time becomes one incident: one
message when it begins, one when the last of its rules is well again. Everything is decided from rows under the run's lock, and each
message has an id that is computed from what it is about, so doing it again changes nothing.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from foreshock_server.models import Alert, Channel, Delivery, Incident, Run, Series, Silence, Transition
from foreshock_server.store import outbox
from foreshock_server.store.incidents import OPEN, RESOLVED
from foreshock_server.store.matching import About, about, fits
from foreshock_server.store.silences import in_force

SEVERAL = "several families"  # of an incident that takes in everything that fires while it is open
FAMILIES = 3  # that begin within these seconds are told each by itself; with one more it is a storm
STORM_SECONDS = 60.0
LOOK_AGAIN = (
    5.0  # seconds after which what is muted is looked at again: silences end, and what inhibits is over
)
QUIET_SECONDS = 3600.0  # a run from which nothing came for so long is not told about again
CRITICAL = "critical"


class Event(NamedTuple):
    """Something a rule says about its alerts in the run."""

    transition: Transition
    family: str  # of the rule
    inhibits: bool = False  # while it lasts, other alerts of the run follow from it
    aloud: bool = True  # False: it grew critical, and the rule does not ask for a message about that


class Book:
    """The open incidents of one run. Whoever makes one holds the run's lock, and is not done before the transaction is."""

    def __init__(self, session: Session, run: Run, now: float) -> None:
        self._session = session
        self._run = run
        self._now = now
        query = select(Incident).where(Incident.run_id == run.id, Incident.state == OPEN)
        self._open = list(session.scalars(query.order_by(Incident.number)))

    def follow(self, events: Sequence[Event]) -> None:
        """Take in what the rules say, in order."""
        for place, event in enumerate(events):
            transition = event.transition
            own = [transition.rule, transition.series_id, transition.episode]
            leads = next((one for one in self._open if any(who[:3] == own for who in one.firing)), None)
            if not event.aloud:
                of_rule = next((one for one in self._open if transition.rule in _firing(one)), None)
                if of_rule is not None:
                    self._grow(of_rule, transition, everybody=False)
            elif transition.kind == RESOLVED:
                self._end(leads, own, transition)
            elif leads is not None:
                self._grow(leads, transition, everybody=True)
            else:
                self._begin(event, own, events[place:])
        for incident in self._open:
            if incident.told_at is None:
                self.review(incident)
        self._session.flush()

    def review(self, incident: Incident) -> None:
        """What time alone brings: a silence ended, nobody acknowledged it."""
        incident.next_at = None
        if incident.told_at is None:
            self._tell_of_any(incident)
        elif incident.acknowledged_at is None:
            self._remind(incident)

    def find(self, number: int) -> Incident | None:
        """The open incident with this number."""
        return next((one for one in self._open if one.number == number), None)

    # -- what happens to an incident --

    def _begin(self, event: Event, own: list[Any], coming: Sequence[Event]) -> None:
        transition = event.transition
        incident = self._home(event.family)
        is_new = incident is None
        if incident is None:
            incident = self._made(self._family(event.family, coming), transition)
        incident.firing = [*incident.firing, [*own, event.inhibits]]
        incident.inhibits = incident.inhibits or event.inhibits
        if transition.rule not in incident.rules:
            incident.rules = [*incident.rules, transition.rule]
        if is_new or incident.told_at is None:
            self._worsen(incident, transition)
            self._tell(incident, transition)
        else:
            self._grow(incident, transition, everybody=True)

    def _end(self, incident: Incident | None, own: list[Any], transition: Transition) -> None:
        if incident is None:  # it fired before there were incidents
            outbox.enqueue(self._session, transition, self._now)
            return
        incident.firing = [who for who in incident.firing if who[:3] != own]
        incident.inhibits = any(who[3] for who in incident.firing)
        if incident.firing:
            return
        incident.state, incident.next_at = RESOLVED, None
        incident.resolved_at, incident.resolved_step = self._now, transition.step
        self._open.remove(incident)
        if incident.told_at is not None:
            key = (incident.run_id, incident.rule, incident.series_id, incident.episode, RESOLVED)
            told = self._session.get(Transition, key) or transition
            self._post(incident, told, self._told_to(incident))

    def _grow(self, incident: Incident, transition: Transition, *, everybody: bool) -> None:
        """Critical now, and was not: those who want to know only then are told; those who know, if the rule asks for it."""
        if not self._worsen(incident, transition):
            return
        if incident.told_at is None:
            self._tell(incident, transition)
            return
        alert = self._about(transition)
        if (self._silenced(alert) or self._inhibited(incident)) is None:
            known = set() if everybody else {one.id for one in self._told_to(incident)}
            to = [one for one in self._listening(alert) if one.id not in known]
            self._post(incident, transition, to, kind="escalated")
            incident.next_at = self._next(incident, alert)

    def _worsen(self, incident: Incident, transition: Transition) -> bool:
        worse = transition.severity == CRITICAL and incident.severity != CRITICAL
        if worse:
            incident.severity = CRITICAL
        return worse

    def _tell(self, incident: Incident, transition: Transition, series: Series | None = None) -> bool:
        """Say that it has begun, if this alert may be spoken of; else keep why it may not."""
        alert = self._about(transition, series)
        incident.muted = self._silenced(alert) or self._inhibited(incident)
        if incident.muted is not None:
            incident.next_at = self._now + LOOK_AGAIN
            return False
        incident.rule, incident.series_id = transition.rule, transition.series_id
        incident.episode, incident.kind = transition.episode, transition.kind
        incident.told_at = self._now
        self._post(incident, transition, self._listening(alert))
        incident.next_at = self._next(incident, alert)
        return True

    def _tell_of_any(self, incident: Incident) -> None:
        """Of the alerts that go on, the first that may be spoken of."""
        incident.next_at = self._now + LOOK_AGAIN
        inhibited = self._inhibited(incident)
        if inhibited is not None:
            incident.muted = inhibited
            return
        query = (
            select(Transition, Series, Alert.memory)
            .join(Alert, _same(Alert, Transition) & (Alert.episode == Transition.episode))
            .join(Series, (Series.run_id == Alert.run_id) & (Series.series_id == Alert.series_id))
            .where(
                Alert.run_id == self._run.id,
                Alert.rule.in_(_firing(incident)),
                Alert.state == "firing",
                Transition.kind != RESOLVED,
            )
            # "escalated" before "fired": what is critical now is told as that.
            .order_by(Alert.fired_step, Alert.rule, Alert.series_id, Transition.kind)
        )
        for transition, series, memory in self._session.execute(query):
            if memory.get("leader") is not None and self._tell(incident, transition, series):
                return

    def _remind(self, incident: Incident) -> None:
        key = (incident.run_id, incident.rule, incident.series_id, incident.episode, incident.kind)
        transition = self._session.get(Transition, key)
        if transition is None or incident.told_at is None:
            return
        alert = self._about(transition)
        if self._silenced(alert) is not None:
            incident.next_at = self._now + LOOK_AGAIN
            return
        waited = self._now - incident.told_at
        lives = self._run.state == "running" and self._now - self._run.updated_at < QUIET_SECONDS
        for channel in self._listening(alert, late=True):
            after = channel.after_seconds or 0.0
            if channel.after_seconds and waited >= after:
                self._post(incident, transition, [channel], kind="fired")
            if channel.repeat_seconds and lives:
                turn = math.floor((waited - after) / channel.repeat_seconds)
                if turn >= 1 and not self._waits(incident, channel):
                    self._post(incident, transition, [channel], kind="repeated", turn=turn)
        incident.next_at = self._next(incident, alert)

    # -- what is asked on the way --

    def _home(self, family: str) -> Incident | None:
        """The open incident that takes in what fires in this family."""
        return next((one for one in self._open if one.family in (family, SEVERAL)), None)

    def _family(self, family: str, coming: Sequence[Event]) -> str:
        """What a new incident is about: everything, when too many families begin at once."""
        lately = sum(self._now - one.opened_at < STORM_SECONDS for one in self._open)
        there = {one.family for one in self._open}
        begin = {one.family for one in coming if one.aloud and one.transition.kind != RESOLVED} - there
        return SEVERAL if lately + len(begin) > FAMILIES else family

    def _made(self, family: str, transition: Transition) -> Incident:
        last = self._session.scalar(select(func.max(Incident.number)).where(Incident.run_id == self._run.id))
        incident = Incident(
            run_id=self._run.id,
            number=(last or 0) + 1,
            family=family,
            state=OPEN,
            severity=transition.severity,
            inhibits=False,
            firing=[],
            rules=[],
            opened_step=transition.step,
            opened_at=self._now,
            secret=secrets.token_hex(32),
        )
        self._session.add(incident)
        self._session.flush()
        self._open.append(incident)
        return incident

    @cached_property
    def _silences(self) -> Sequence[Silence]:
        return in_force(self._session, self._run.project, self._now)

    @cached_property
    def _channels(self) -> Sequence[Channel]:
        own = or_(Channel.project.is_(None), Channel.project == self._run.project)
        query = select(Channel).where(Channel.enabled, own)
        return self._session.scalars(query.order_by(Channel.id)).all()

    def _about(self, transition: Transition, series: Series | None = None) -> About:
        found = series or self._session.get(Series, (transition.run_id, transition.series_id))
        return about(self._run, transition, found)

    def _silenced(self, alert: About) -> str | None:
        if self._run.trashed_at is not None:
            return "trash"
        return next((f"silence {one.id}" for one in self._silences if fits(one.matches, alert)), None)

    def _inhibited(self, incident: Incident) -> str | None:
        if incident.inhibits:
            return None
        return next((f"incident {one.number}" for one in self._open if one.inhibits), None)

    def _listening(self, alert: About, *, late: bool = False) -> list[Channel]:
        """The channels for such an alert; `late`: also those that want only what nobody acknowledges."""
        return [one for one in self._channels if (late or not one.after_seconds) and fits(one.matches, alert)]

    def _told_to(self, incident: Incident) -> list[Channel]:
        query = select(Delivery.channel_id).where(
            Delivery.run_id == incident.run_id, Delivery.incident == incident.number
        )
        known = set(self._session.scalars(query))
        return [one for one in self._channels if one.id in known]

    def _waits(self, incident: Incident, channel: Channel) -> bool:
        query = select(Delivery.id).where(
            Delivery.run_id == incident.run_id,
            Delivery.incident == incident.number,
            Delivery.channel_id == channel.id,
            Delivery.state == "waiting",
        )
        return self._session.scalar(query.limit(1)) is not None

    def _post(
        self,
        incident: Incident,
        transition: Transition,
        channels: Collection[Channel],
        *,
        kind: str | None = None,
        turn: int = 0,
    ) -> None:
        for channel in channels:
            outbox.put(
                self._session,
                transition,
                channel,
                self._now,
                incident=incident.number,
                kind=kind,
                turn=turn,
            )

    def _next(self, incident: Incident, alert: About) -> float | None:
        """When `review` may have something to do for one that was told."""
        if incident.told_at is None or incident.acknowledged_at is not None:
            return None
        due: list[float] = []
        for channel in self._listening(alert, late=True):
            begins = incident.told_at + (channel.after_seconds or 0.0)
            if channel.after_seconds and begins > self._now:
                due.append(begins)
            elif channel.repeat_seconds:
                turn = math.floor((self._now - begins) / channel.repeat_seconds) + 1
                due.append(begins + turn * channel.repeat_seconds)
        return min(due, default=None)


def _firing(incident: Incident) -> set[str]:
    return {rule for rule, *_ in incident.firing}


def _same(left: type[Alert], right: type[Transition]) -> Any:
    return (left.run_id == right.run_id) & (left.rule == right.rule) & (left.series_id == right.series_id)
