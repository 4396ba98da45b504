"""One rule on one series: readings in, changes out; between two blocks it rests in an Alert row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock_server.models import Alert, Series
from foreshock_server.rules import message
from foreshock_server.rules.detectors import Reading
from foreshock_server.rules.incidents import Leader
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.state import Kind, Machine, Reason, Severity, State, advance

_COUNTERS = ("samples", "breached", "critical", "cleared", "quiet")


class Subject(NamedTuple):
    """What rules and sentences need of a series; lighter than its row, as many are kept."""

    series_id: int
    key: str
    statistic: str
    family: str
    place: str
    unit: str
    labels: dict[str, Any]

    @classmethod
    def of(cls, row: Series) -> Subject:
        """Of this row."""
        return cls(row.series_id, row.key, row.statistic, row.family, row.place, row.unit, row.labels)


class Change(NamedTuple):
    """A transition in the making."""

    order: tuple[int, ...]  # where in the batch it happened
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
    """What the evaluator holds while it goes through a batch."""

    rule: Rule
    series: Subject
    machine: Machine
    memory: Any
    reading: Mapping[str, Any] = field(default_factory=dict)  # as stored
    leader: Leader | None = None  # of the incident it belongs to while it fires
    attempt: int = 1  # of the last reading
    stored: bool = False  # there is a row
    touched: bool = False  # the row must be written
    seen: bool = False  # someone who looks at the run could see the difference

    def __post_init__(self) -> None:
        self.policy = self.rule.policy

    @classmethod
    def begin(cls, rule: Rule, series: Subject) -> Watch:
        """A rule that has not seen this series yet."""
        return cls(rule, series, Machine(), rule.detector.initial())

    @classmethod
    def resume(cls, rule: Rule, series: Subject, row: Alert) -> Watch:
        """Where the row left off."""
        leader = row.memory.get("leader")
        return cls(
            rule,
            series,
            machine_of(row),
            rule.detector.load(row.memory["detector"]),
            row.reading,
            None if leader is None else Leader(*leader),
            row.attempt,
            stored=True,
        )

    def see(
        self,
        steps: NDArray[np.int64],
        times: NDArray[np.float64],
        values: NDArray[np.floating[Any]],
        *,
        attempt: int,
        order: tuple[int, ...],
    ) -> list[Change]:
        """The changes that these readings bring, in their order."""
        if self._may_skip() and self.rule.detector.skim(self.memory, values) == len(values):
            return []
        # Locals: this loop runs once per reading and rule.
        detector, policy, machine, memory = self.rule.detector, self.policy, self.machine, self.memory
        last: Reading | None = None
        changes: list[Change] = []
        skips, count, row = detector.skips, len(values), 0
        where, when, what = steps.tolist(), times.tolist(), values.tolist()
        while row < count:
            if skips and machine.state is State.OK:
                row += detector.skim(memory, values[row:])
                if row == count:
                    break
            step = where[row]
            if step >= policy.warmup_steps:
                memory, reading = detector.update(memory, step, what[row])
                before = machine
                machine, kind, reason = advance(
                    before,
                    breach=reading.breach,
                    critical=reading.critical,
                    clear=reading.clear,
                    step=step,
                    policy=policy,
                )
                if reading.breach is not None:
                    last = reading
                if machine.state is not before.state or machine.severity is not before.severity:
                    self.seen = True
                if kind is not None:
                    place = (*order, row, self.series.series_id)
                    changes.append(self._change(place, kind, reason, reading, before, machine, when[row]))
            row += 1
        if memory is self.memory and machine is self.machine:
            return []
        self.machine, self.memory, self.attempt, self.touched = machine, memory, attempt, True
        if last is not None:
            self.reading = message.as_json(self.rule, self.series, last, machine)
        return changes

    def _may_skip(self) -> bool:
        return self.rule.detector.skips and self.machine.state is State.OK

    def follow(self, leader: Leader | None) -> None:
        """Belong to this incident, or to none."""
        if leader != self.leader:
            self.leader, self.touched = leader, True

    def row(self, run_id: str) -> dict[str, Any]:
        """The Alert row that this rests in."""
        machine = self.machine
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
            },
            "reading": dict(self.reading),
        }

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
