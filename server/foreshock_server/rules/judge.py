"""A run's new blocks, as one moment of the database shows them -> what they change: alerts, transitions, messages. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Alert, Series, Writer
from foreshock_server.rules.columns import Column, WatchedColumns
from foreshock_server.rules.incidents import Leader, Member, Message, speak
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.pack import Notify, Rule
from foreshock_server.rules.state import Kind, Severity, State
from foreshock_server.rules.watch import Change, Subject, Watch
from foreshock_server.store.blocks import RowGroup, blocks_after
from foreshock_server.store.runs import list_writers
from foreshock_server.store.series import list_series

BLOCKS_AT_ONCE = 32  # of one writer; what is computed and stored together

AlertKey = tuple[str, int]  # rule, series
WriterKey = tuple[int, str]  # attempt, writer


@dataclass
class Batch:
    """What one run's new blocks bring, before it is stored."""

    run_id: str
    cursors: dict[WriterKey, int]  # of all writers of the run, as they stood
    rows: dict[AlertKey, Alert]  # as they stood
    ahead: dict[WriterKey, int] = field(default_factory=dict)  # where the cursors shall stand
    blocks: int = 0
    watches: dict[AlertKey, Watch] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    retired: list[Alert] = field(default_factory=list)  # not ok, but no rule in force watches its series
    messages: list[tuple[str, Message]] = field(default_factory=list)  # with the rule of each

    @property
    def visible(self) -> bool:
        """True when someone who looks at the run could see a difference."""
        return bool(self.retired) or any(watch.seen for watch in self.watches.values())


class Judge:
    """The rules at work."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._columns = WatchedColumns(rules)

    def __call__(self, session: Session, run_id: str) -> Batch:
        """Everything that is stored and not evaluated, up to BLOCKS_AT_ONCE of each writer, in the order of attempt and seq."""
        writers = list_writers(session, run_id)
        rows = session.scalars(select(Alert).where(Alert.run_id == run_id))
        batch = Batch(
            run_id,
            {(one.attempt, one.writer): one.evaluated_seq for one in writers},
            {(row.rule, row.series_id): row for row in rows},
        )
        for writer in writers:
            if writer.evaluated_seq < writer.acked_seq:
                self._writer(session, batch, writer)
        batch.changes.sort(key=lambda change: change.order)
        batch.retired = self._orphans(session, batch)
        if batch.changes or batch.retired:
            self._messages(session, batch)
        return batch

    def _orphans(self, session: Session, batch: Batch) -> list[Alert]:
        """What fires under a rule that is gone, or that no longer watches the series, would fire for ever."""
        active = [row for row in batch.rows.values() if row.state != State.OK.value]
        query = select(Series).where(
            Series.run_id == batch.run_id, Series.series_id.in_({row.series_id for row in active})
        )
        subjects = {one.series_id: Subject.of(one) for one in session.scalars(query)} if active else {}
        return [
            row
            for row in active
            if (rule := self.rules.get(row.rule)) is None or not rule.watches(subjects[row.series_id])
        ]

    def _writer(self, session: Session, batch: Batch, writer: Writer) -> None:
        key = (writer.attempt, writer.writer)
        blocks = blocks_after(session, batch.run_id, *key, writer.evaluated_seq, BLOCKS_AT_ONCE)
        complete = len(blocks) < BLOCKS_AT_ONCE  # then what is missing up to acked_seq is lost for good
        batch.ahead[key] = writer.acked_seq if complete else blocks[-1].seq
        for block in blocks:
            for number, group in enumerate(block.rows):
                for column in self._columns.of(session, batch.run_id, *key, group.frame):
                    _column(batch, column, group, attempt=writer.attempt, order=(batch.blocks, number))
            batch.blocks += 1

    def _messages(self, session: Session, batch: Batch) -> None:
        """Which changes are sent, and who leads: kept in the alerts' memory, as the next batch must know it."""
        series = {one.series_id: Subject.of(one) for one in list_series(session, batch.run_id)}
        firing = _firing(batch.rows)
        places: dict[str, int] = {}
        for change in batch.changes:
            rule = change.watch.rule
            if rule.id not in places:
                places[rule.id] = sum(rule.watches(one) for one in series.values())
            message = speak(
                firing.setdefault(rule.id, {}),
                series_id=change.watch.series.series_id,
                episode=change.episode,
                kind=change.kind,
                severity=change.severity,
                notify=rule.notify,
                places=places[rule.id],
            )
            batch.messages += [(rule.id, message)] if message else []
        for row in batch.retired:
            message = speak(
                firing.get(row.rule, {}),
                series_id=row.series_id,
                episode=row.episode,
                kind=Kind.RESOLVED,
                severity=Severity(row.severity),
                notify=Notify.model_validate({}),
                places=1,
            )
            batch.messages += [(row.rule, message)] if message else []
        for rule in {change.watch.rule.id: change.watch.rule for change in batch.changes}.values():
            for series_id, member in firing[rule.id].items():
                _watch(batch, rule, series[series_id]).follow(member.leader)
        for watch in batch.watches.values():
            if watch.machine.state is not State.FIRING:
                watch.follow(None)
        for rule_id, message in batch.messages:
            others = sum(
                one.leader == Leader(message.series_id, message.episode) for one in firing[rule_id].values()
            )
            _mention(batch, rule_id, message, others - 1)


def _column(batch: Batch, column: Column, group: RowGroup, *, attempt: int, order: tuple[int, int]) -> None:
    steps, times, values = group.steps, group.times, group.values[:, column.position]
    if group.absent is not None:
        there = ~group.absent[:, column.position]
        steps, times, values = steps[there], times[there], values[there]
    if not len(values):
        return
    for rule in column.rules:
        watch = _watch(batch, rule, column.series)
        batch.changes += watch.see(steps, times, values, attempt=attempt, order=order)


def _watch(batch: Batch, rule: Rule, series: Subject) -> Watch:
    key = (rule.id, series.series_id)
    if key not in batch.watches:
        row = batch.rows.get(key)
        batch.watches[key] = Watch.begin(rule, series) if row is None else Watch.resume(rule, series, row)
    return batch.watches[key]


def _firing(rows: Mapping[AlertKey, Alert]) -> dict[str, dict[int, Member]]:
    found: dict[str, dict[int, Member]] = {}
    for row in rows.values():
        if row.state == State.FIRING.value:
            leader: list[Any] | None = row.memory.get("leader")
            member = Member(row.episode, Severity(row.severity), Leader(*leader) if leader else None)
            found.setdefault(row.rule, {})[row.series_id] = member
    return found


def _mention(batch: Batch, rule_id: str, message: Message, others: int) -> None:
    """Say in the message how many other places it stands for."""
    if others < 1 or message.kind is Kind.RESOLVED:
        return
    for change in batch.changes:
        about = (change.watch.rule.id, change.watch.series.series_id, change.episode, change.kind)
        if about == (rule_id, *message):
            places = "1 other place" if others == 1 else f"{others} other places"
            change.detail["also_at"] = others
            change.detail["message"] = f"{change.detail['message']} The same at {places}."
