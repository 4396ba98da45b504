"""One rule on one series: readings in, changes out; between two blocks it rests in an Alert row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock_server.models import Alert
from foreshock_server.rules import guards, joint, message
from foreshock_server.rules.columns import Subject
from foreshock_server.rules.detectors import Reading
from foreshock_server.rules.detectors.absence import AbsenceMemory, Verdict
from foreshock_server.rules.incidents import Leader
from foreshock_server.rules.lapse import lapsed
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.state import Kind, Machine, Reason, Severity, State, advance, pass_over

_NO_NEWS = np.zeros(1)
_NOTHING_HEARD = AbsenceMemory()
_COUNTERS = ("samples", "breached", "critical", "cleared", "quiet")


class NewTask(NamedTuple):
    """A new task began, as is known from this step on."""

    step: int


class Change(NamedTuple):
    """A transition in the making."""

    order: tuple[int, ...]  # where in what was judged together it happened
    watch: Watch
    kind: Kind
    severity: Severity
    episode: int
    step: int
    since_step: int | None
    at: float
    detail: dict[str, Any]


@dataclass(eq=False)
class Watch:
    """What a run's memory holds of it."""

    rule: Rule
    series: Subject
    machine: Machine
    memory: Any
    reading: Mapping[str, Any] = field(default_factory=dict)  # as stored
    parts: Any = None  # what is remembered of the series, or of the rules, that its readings are made of
    last: Reading | None = None  # of those that are not stored
    leader: Leader | None = None  # of the incident it belongs to while it fires
    attempt: int = 1  # of the last reading
    gauges: tuple[guards.Gauge, ...] = ()  # of what its readings rest on, one for each need of the rule
    sighted: bool = False  # it has had a reading
    presence: AbsenceMemory = _NOTHING_HEARD  # of a rule that says what silence means to it
    waiting: list[Verdict | NewTask] = field(
        default_factory=list
    )  # what comes between readings of the block in course
    tasks: list[int] = field(default_factory=list)  # steps at which a new task began, of a rule that says so
    stored: bool = False  # there is a row
    seen: bool = False  # someone who looks at the run could see the difference from it

    @classmethod
    def begin(cls, rule: Rule, series: Subject) -> Watch:
        """A rule that has not seen this series yet."""
        return cls(
            rule,
            _shown(rule, series),
            Machine(),
            rule.detector.initial(),
            parts=_parts_in(rule, None),
            gauges=tuple(guards.Gauge() for _ in rule.needs),
        )

    @classmethod
    def resume(cls, rule: Rule, series: Subject, row: Alert) -> Watch:
        """Where the row left off."""
        leader = row.memory.get("leader")
        return cls(
            rule,
            _shown(rule, series),
            machine_of(row),
            rule.detector.load(row.memory["detector"]),
            row.reading,
            _parts_in(rule, row.memory.get("parts", {})),
            leader=None if leader is None else Leader(*leader),
            attempt=row.attempt,
            gauges=guards.load(rule.needs, row.memory.get("gauges", ())),
            sighted=True,
            presence=_NOTHING_HEARD
            if rule.listening is None
            else rule.listening.load(row.memory.get("heard", {})),
            stored=True,
        )

    def see(
        self,
        steps: Sequence[int],
        times: Sequence[float],
        values: NDArray[np.floating[Any]],
        *,
        attempt: int,
        order: tuple[int, int, int],
        changes: list[Change],
        entries: Sequence[str | None] | None = None,
    ) -> bool:
        """True when these readings changed anything; the transitions they bring are added to `changes`.

        `order`: the block, the row group, and the place of the rule among the others. `entries`: of a vector, which one each
        reading is of.
        """
        if self.waiting:
            return self._see_by_turns(steps, times, values, attempt, order, changes, entries)
        # Locals: this loop runs once per reading and rule.
        rule = self.rule
        detector, policy, machine, memory = rule.detector, rule.policy, self.machine, self.memory
        update, skips, warmup = detector.update, detector.skips, policy.warmup_steps
        boundary = rule.boundary
        last: Reading | None = None
        what = values.tolist()
        count, row = len(what), 0
        while row < count:
            if skips and machine.state is State.OK:
                row += detector.skim(memory, values[row:])
                if row == count:
                    break
            step = steps[row]
            if step >= warmup:
                memory, reading = update(memory, step, what[row])
                if entries is not None:
                    reading = reading._replace(entry=entries[row])
                before = machine
                machine, kind, reason = advance(
                    before, reading.breach, reading.critical, reading.clear, step, policy
                )
                if reading.breach is not None:
                    last = reading
                if machine.state is not before.state or machine.severity is not before.severity:
                    self.seen = True
                if (kind is Kind.FIRED and boundary) or (reading.breach and boundary == "announced"):
                    self.tasks.append(step)
                if kind is not None:
                    place = (order[0], order[1], row, self.series.series_id, order[2])
                    changes.append(self._change(place, kind, reason, reading, before, machine, times[row]))
            row += 1
        if memory is self.memory and machine is self.machine:
            return False
        self.machine, self.memory, self.attempt = machine, memory, attempt
        if last is not None:
            self.last = last
        return True

    def _see_by_turns(
        self,
        steps: Sequence[int],
        times: Sequence[float],
        values: NDArray[np.floating[Any]],
        attempt: int,
        order: tuple[int, int, int],
        changes: list[Change],
        entries: Sequence[str | None] | None,
    ) -> bool:
        """The same where something comes between two of these readings."""
        waiting, start = self.waiting, 0

        def part(begin: int, end: int) -> None:
            some = None if entries is None else entries[begin:end]
            self.see(
                steps[begin:end],
                times[begin:end],
                values[begin:end],
                attempt=attempt,
                order=order,
                changes=changes,
                entries=some,
            )

        ends = [
            next((row for row, step in enumerate(steps) if _comes(one, step)), len(steps)) for one in waiting
        ]
        for one, end in zip(waiting, ends, strict=True):
            if end == len(steps):
                break
            self.waiting = []
            if end > start:
                part(start, end)
            self.waiting, waiting, start = [one], waiting[1:], end
            self.turn((order[0], order[1], 0), changes)
        self.waiting = []
        part(start, len(steps))
        self.waiting = waiting
        return True

    def lapses_at(self, presence: AbsenceMemory, verdicts: Sequence[Verdict]) -> bool:
        """True when what was heard of its series, or not, is to be remembered; silences wait until the readings before them are judged."""
        self.waiting = [one for one in verdicts if one.silent]
        changed = presence != self.presence
        self.presence = presence
        return changed

    def turn(self, order: tuple[int, int, int], changes: list[Change]) -> None:
        """What waits has come: silences, and new tasks."""
        policy = self.rule.no_data
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            if isinstance(one, NewTask):
                self.memory = self.rule.detector.renewed(self.memory)
                continue
            if policy is None or policy.then == "keep":
                continue
            before = self.machine
            self.machine, kind, reason = lapsed(before, policy.then, one.step, self.rule.policy)
            if self.machine.state is not before.state:
                self.seen = True
                self.last = Reading(policy.then == "alert", note=policy.note(one.note))
            if kind is not None and self.last is not None:
                place = (order[0], order[1], order[2], self.series.series_id, 0)
                changes.append(self._change(place, kind, reason, self.last, before, self.machine, one.at))

    @property
    def heard(self) -> AbsenceMemory:
        """What is remembered of whether its series comes."""
        return self.memory if isinstance(self.memory, AbsenceMemory) else self.presence

    def pass_over(
        self, steps: Sequence[int], times: Sequence[float], values: NDArray[np.floating[Any]], *, attempt: int
    ) -> bool:
        """The same for readings that bring no transition, as its detector said before them (`Detector.quiet`)."""
        if self.machine.state is State.OK and min(steps) >= self.rule.policy.warmup_steps and len(steps) > 1:
            before = steps[:-1]
            self.memory, clear = self.rule.detector.pass_over(
                self.memory, before, values[:-1].astype(np.float64)
            )
            self.machine = pass_over(self.machine, clear, before)
            steps, times, values = steps[-1:], times[-1:], values[-1:]
        return self.see(steps, times, values, attempt=attempt, order=(0, 0, 0), changes=[])

    def told(
        self,
        memory: AbsenceMemory,
        verdicts: Sequence[Verdict],
        *,
        order: tuple[int, int, int],
        changes: list[Change],
    ) -> bool:
        """True when what an absence rule has heard, or not, changed anything; the transitions are added to `changes`."""
        if memory == self.memory:
            return False
        self.memory = memory
        for row, one in enumerate(verdicts):
            before = self.machine
            self.machine, kind, reason = advance(
                before, one.silent, False, not one.silent, one.step, self.rule.policy
            )
            self.last = Reading(one.silent, clear=not one.silent, note=one.note)
            self.seen = self.seen or self.machine.state is not before.state
            if kind is not None:
                place = (order[0], order[1], row, self.series.series_id, order[2])
                changes.append(self._change(place, kind, reason, self.last, before, self.machine, one.at))
        if memory.process is not None:
            self.attempt = memory.process[0]
        return True

    def gauge(
        self, number: int, steps: Sequence[int], values: NDArray[np.float64], came: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_] | None, bool]:
        """Rows with the companion of this need, where it came -> of each whether a reading at its step is held back (None: at no one),
        and whether anything changed."""
        need, before = self.rule.needs[number], self.gauges[number]
        if need.changes_nothing(before, steps, values[came]):
            return None, False
        now, held = before, np.zeros(len(steps), np.bool_)
        for row, step in enumerate(steps):
            if came[row]:
                now = need.after(now, step, float(values[row]))
            held[row] = now.holds(step)
        self.gauges = (*self.gauges[:number], now, *self.gauges[number + 1 :])
        if now.is_short is not before.is_short and self.machine.episode:
            self.seen = True
        return held, now != before

    @property
    def undecided(self) -> str | None:
        """Why readings do not count now; None: they do."""
        said = [need.says(gauge) for need, gauge in zip(self.rule.needs, self.gauges, strict=True)]
        return next((one for one in said if one is not None), None)

    @property
    def may_be_skipped(self) -> bool:
        """True when readings that are no news change nothing."""
        return self.machine.state is State.OK and self.rule.detector.skim(self.memory, _NO_NEWS) > 0

    def follow(self, leader: Leader | None) -> bool:
        """Belong to this incident, or to none; True when that is a change."""
        changed = leader != self.leader
        self.leader = leader
        return changed

    def rest(self) -> None:
        """Its row is written."""
        self.stored, self.seen = True, False

    def row(self, run_id: str) -> dict[str, Any]:
        """The Alert row that this rests in."""
        machine = self.machine
        if self.last is not None:
            self.reading, self.last = message.as_json(self.rule, self.series, self.last, machine), None
        undecided = self.undecided
        listening = None if self.rule.no_data is None else self.rule.no_data.listening
        return {
            "run_id": run_id,
            "rule": self.rule.id,
            "series_id": self.series.series_id,
            "state": machine.state.value,
            "severity": machine.severity.value if machine.state is State.FIRING else self.rule.severity,
            "episode": machine.episode,
            "since_step": machine.since_step,
            "fired_step": machine.fired_step,
            "last_step": machine.last_step,
            "attempt": self.attempt,
            "memory": {
                "machine": {name: getattr(machine, name) for name in _COUNTERS},
                "detector": self.rule.detector.dump(self.memory),
                "leader": None if self.leader is None else list(self.leader),
                **self._kept_parts(),
                **({"heard": listening.dump(self.presence)} if listening is not None else {}),
                **({"gauges": guards.dump(self.rule.needs, self.gauges)} if self.gauges else {}),
            },
            "reading": {**self.reading, "undecided": undecided} if self.gauges else dict(self.reading),
        }

    def _kept_parts(self) -> dict[str, Any]:
        if self.rule.derive is not None:
            return {"parts": self.rule.derive.dump(self.parts)}
        return {} if self.rule.joint is None else {"parts": joint.dump(self.parts)}

    def _change(
        self,
        order: tuple[int, ...],
        kind: Kind,
        reason: Reason,
        reading: Reading,
        before: Machine,
        machine: Machine,
        at: float,
    ) -> Change:
        step = machine.last_step or 0
        detail = message.as_json(self.rule, self.series, reading, machine)
        detail["reason"] = reason.value
        if kind is Kind.RESOLVED:
            detail["message"] = message.resolution(self.rule, self.series, reading, before.fired_step, step)
            detail["fired_step"] = before.fired_step
        since = before.since_step if kind is Kind.RESOLVED else machine.since_step
        return Change(order, self, kind, machine.severity, machine.episode, step, since, at, detail)


def _parts_in(rule: Rule, stored: Mapping[str, Any] | None) -> Any:
    if rule.derive is not None:
        return rule.derive.initial() if stored is None else rule.derive.load(stored)
    return None if rule.joint is None else joint.load(stored or {})


def _shown(rule: Rule, series: Subject) -> Subject:
    """What sentences say of it: what is derived has a unit of its own, and what all places make together no place."""
    if rule.joint is not None:
        return series._replace(unit="", place="")
    if rule.derive is None:
        return series
    place = "" if rule.derive.many else series.place
    return series._replace(unit=rule.derive.unit(series.unit), place=place)


def _comes(one: Verdict | NewTask, step: int) -> bool:
    """True when it came before the reading at this step: with a new task the step belongs to it, silence is what lay behind one."""
    return step >= one.step if isinstance(one, NewTask) else step > one.step


def machine_of(row: Alert) -> Machine:
    """The machine that rests in this row."""
    return Machine(
        State(row.state),
        Severity(row.severity),
        row.episode,
        row.since_step,
        row.fired_step,
        row.last_step,
        **row.memory["machine"],
    )
