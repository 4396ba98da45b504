"""A run's new blocks -> what they change in the run's memory: alerts, transitions, messages. Stores nothing.

After an exception the memory is half changed: drop it, what is stored is whole. Where blocks come from is a `Source`: the store
while a run goes on, its recording when rules are tried on it afterwards (trial/).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.models import Run
from foreshock_server.rules.blending import blend
from foreshock_server.rules.columns import Column, Plan, Planner, Vector
from foreshock_server.rules.holding import Held, hold
from foreshock_server.rules.incidents import Leader, Message, speak
from foreshock_server.rules.joining import join
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.memory import Memory, Reach, WriterKey
from foreshock_server.rules.pack import Notify
from foreshock_server.rules.reduction import NO_ENTRY, newsworthy, reduced
from foreshock_server.rules.silences import hear, look, turn
from foreshock_server.rules.state import Kind, Severity, State
from foreshock_server.rules.watch import Change, NewTask, Watch
from foreshock_server.store.blocks import Portion, RowGroup, blocks_after
from foreshock_server.store.layout import Slot, slots
from foreshock_server.store.series import frames

BLOCKS_AT_ONCE = 32  # of one writer
_PLANNERS_KEPT = 64  # runs mostly say the same of themselves
_NOTHING_HELD: Held = {}


class Source(Protocol):
    """Where the blocks of a run's writers come from."""

    def portion(self, session: Session, run_id: str, writer: WriterKey, after: int, acked: int) -> Portion:
        """The next blocks of the writer behind this seq, as many as it likes, one at least if there is one up to `acked`."""

    def layouts(
        self, session: Session, run_id: str, writer: WriterKey, numbers: Collection[int]
    ) -> Mapping[int, Sequence[Slot]]:
        """Where the series of these frames lie in the values that `portion` gives."""


class Stored:
    """The blocks as they came, BLOCKS_AT_ONCE of them."""

    def portion(self, session: Session, run_id: str, writer: WriterKey, after: int, acked: int) -> Portion:
        """What lies behind the cursor."""
        blocks = blocks_after(session, run_id, *writer, after, BLOCKS_AT_ONCE)
        if len(blocks) == BLOCKS_AT_ONCE:
            return Portion(blocks, blocks[-1].seq)
        return Portion(blocks, max([acked, *(one.seq for one in blocks)]))  # what is missing is lost for good

    def layouts(
        self, session: Session, run_id: str, writer: WriterKey, numbers: Collection[int]
    ) -> Mapping[int, Sequence[Slot]]:
        """As the frames were registered."""
        return {number: slots(row) for number, row in frames(session, run_id, *writer, numbers).items()}


class Judge:
    """The rules at work."""

    def __init__(self, rules: RuleSet, source: Source | None = None) -> None:
        self._rules = rules
        self._source = source or Stored()
        # By the rules in force, which differ between runs.
        self._planners: dict[tuple[int, ...], tuple[RuleSet, Planner]] = {}

    def __call__(self, session: Session, memory: Memory, reach: Mapping[WriterKey, Reach]) -> int:
        """The number of blocks judged: up to BLOCKS_AT_ONCE of each writer, in the order of attempt and seq. The blocks of an
        attempt wait for those of earlier attempts that are there, so that a backlog is judged in the order in which it was recorded.
        """
        changes: list[Change] = []
        blocks = 0
        behind: int | None = None  # an attempt of which more is there
        for key in sorted(reach):
            if behind is not None and key[0] > behind:
                break
            if memory.cursors.get(key, 0) < reach[key].acked:
                blocks += self._writer(session, memory, key, reach[key].acked, blocks, changes)
            if memory.cursors.get(key, 0) < reach[key].acked:
                behind = key[0]
        changes.sort(key=lambda change: change.order)
        memory.blocks += blocks
        memory.changes += changes
        if changes or memory.retired:
            _speak(session, memory, changes)
        return blocks

    def look(self, session: Session, memory: Memory, run: Run, now: float) -> None:
        """What it means for the run's memory that nothing has arrived until now."""
        changes = look(memory, run, now)
        memory.changes += changes
        if changes:
            _speak(session, memory, changes)

    def retire(self, session: Session, memory: Memory) -> None:
        """Say that what fires under rules that are no longer in force is over, without waiting for a reading."""
        _speak(session, memory, [])

    def _writer(
        self,
        session: Session,
        memory: Memory,
        key: WriterKey,
        acked: int,
        before: int,
        changes: list[Change],
    ) -> int:
        found = self._source.portion(session, memory.run_id, key, memory.cursors.get(key, 0), acked)
        self._plan(session, memory, key, {group.frame for block in found.blocks for group in block.rows})
        for place, block in enumerate(found.blocks, before):
            hear(session, memory, key, block, place, changes)
            for number, group in enumerate(block.rows):
                changes += self._group(session, memory, key, group, (place, number))
            turn(memory, (place, len(block.rows)), changes)
        memory.cursors[key] = found.upto
        return len(found.blocks)

    def _plan(self, session: Session, memory: Memory, key: WriterKey, numbers: set[int]) -> None:
        """Only the frames that are new: a run whose measuring is governed keeps bringing some."""
        missing = {number for number in numbers if (*key, number) not in memory.plans}
        if missing:
            known, planner = memory.catch_up(session), self._planner(memory.rules or self._rules)
            for number, places in self._source.layouts(session, memory.run_id, key, missing).items():
                memory.plans[(*key, number)] = planner.plan(places, known)

    def _planner(self, rules: RuleSet) -> Planner:
        in_force = tuple(id(rule) for rule in rules.rules)
        kept = self._planners.get(in_force)
        if kept is None:
            if len(self._planners) >= _PLANNERS_KEPT:
                self._planners.clear()
            kept = self._planners[in_force] = (rules, Planner(rules))
        return kept[1]

    def _group(
        self, session: Session, memory: Memory, key: WriterKey, group: RowGroup, order: tuple[int, int]
    ) -> list[Change]:
        plan = memory.plans[(*key, group.frame)]
        changes: list[Change] = []
        for column in plan.boundaries:
            watch = self._column(session, memory, column, group, key[0], order, changes)
            if watch is not None and watch.tasks:
                _begin_tasks(memory, watch)
        held = hold(session, memory, key, plan, group) if plan.guarded or plan.companions else {}
        for vector in plan.vectors:
            self._vector(session, memory, vector, group, key[0], order, changes, held)
        for column in _alarmed(memory, plan, group):
            self._column(session, memory, column, group, key[0], order, changes)
        if plan.columns:
            shelf = memory.shelf(key, group.frame, plan.columns)
            for number in shelf.take(group, whole=not held.keys().isdisjoint(shelf.watched)):
                watch = self._column(
                    session, memory, plan.columns[number], group, key[0], order, changes, held
                )
                if watch is not None:
                    shelf.judged(number, watch)
        for one in plan.blends:
            blend(session, memory, key, one, group, order, changes)
        if plan.junctions:
            changes += [
                change
                for one in plan.junctions
                for change in join(session, memory, key, one, group, order, changes)
            ]
        return changes

    def _column(
        self,
        session: Session,
        memory: Memory,
        column: Column,
        group: RowGroup,
        attempt: int,
        order: tuple[int, int],
        changes: list[Change],
        held: Held = _NOTHING_HELD,
    ) -> Watch | None:
        """The rule on the series of this column, which has judged its readings; None when there are none that count."""
        rule, rank, position, series_id = column
        steps, times, values = group.steps, group.times, group.values[:, position]
        wanted = None if group.absent is None else ~group.absent[:, position]
        mask = held.get((rule.id, series_id))
        if mask is not None:
            wanted = ~mask if wanted is None else wanted & ~mask
        if wanted is not None:
            steps, times, values = steps[wanted], times[wanted], values[wanted]
        if not len(values):
            return None
        watch = memory.watches.get((rule.id, series_id)) or memory.watch(session, rule, series_id)
        if watch.see(
            steps.tolist(), times.tolist(), values, attempt=attempt, order=(*order, rank), changes=changes
        ):
            memory.note(watch)
        return watch

    def _vector(
        self,
        session: Session,
        memory: Memory,
        vector: Vector,
        group: RowGroup,
        attempt: int,
        order: tuple[int, int],
        changes: list[Change],
        held: Held,
    ) -> None:
        rule, series_id = vector.rule, vector.slot.series_id
        values = vector.slot.of(group.values)
        there = None if group.absent is None else ~vector.slot.of(group.absent)
        mask = held.get((rule.id, series_id))
        if mask is not None:
            there = np.ones(values.shape, np.bool_) if there is None else there
            there = there & ~mask[:, None]
        if rule.detector.skips and series_id not in memory.awake.get(rule.id, ()):
            news: NDArray[np.bool_] = rule.detector.news(values)
            if not (news if there is None else news & there).any():
                return
        if rule.reduction is None:
            found = newsworthy(rule.detector.news, values, there)
        else:
            found = reduced(rule.reduction, values, there)
        if not len(found.rows):
            return
        watch = memory.watches.get((rule.id, series_id)) or memory.watch(session, rule, series_id)
        entries = [vector.names[one] if one != NO_ENTRY else None for one in found.entries.tolist()]
        if watch.see(
            group.steps[found.rows].tolist(),
            group.times[found.rows].tolist(),
            found.values,
            attempt=attempt,
            order=(*order, vector.rank),
            changes=changes,
            entries=entries,
        ):
            memory.note(watch)


def _begin_tasks(memory: Memory, said: Watch) -> None:
    """What renews its baseline does so before its next reading from these steps on; where a run tells, what is found does not count."""
    steps, said.tasks = said.tasks, []
    if said.rule.boundary == "detected" and memory.announced:
        return
    for watch in memory.renewing:
        memory.unshelve((watch.rule.id, watch.series.series_id))
    memory.begin_tasks([NewTask(step) for step in steps])


def _alarmed(memory: Memory, plan: Plan, group: RowGroup) -> list[Column]:
    """The columns of the rules that skim which cannot be skipped: a reading that is news, or something to remember."""
    hits: list[Column] = []
    for rule, rank, positions, series_ids in plan.skims:
        news: NDArray[np.bool_] = rule.detector.news(group.values[:, positions])
        if group.absent is not None:
            news = news & ~group.absent[:, positions]
        wanted = news.any(axis=0)
        awake = memory.awake.get(rule.id)
        if awake:
            wanted |= np.isin(series_ids, list(awake))
        if wanted.any():
            found = zip(positions[wanted].tolist(), series_ids[wanted].tolist(), strict=True)
            hits += [Column(rule, rank, position, series_id) for position, series_id in found]
    return hits


def _speak(session: Session, memory: Memory, changes: Sequence[Change]) -> None:
    """Which changes are sent, and who leads: kept in the alerts' memory, as what follows must know it."""
    memory.catch_up(session)
    firing = memory.firing
    messages: list[tuple[str, Message]] = []
    for change in changes:
        rule = change.watch.rule
        message = speak(
            firing.setdefault(rule.id, {}),
            series_id=change.watch.series.series_id,
            episode=change.episode,
            kind=change.kind,
            severity=change.severity,
            notify=rule.notify,
            places=memory.places(rule),
        )
        messages += [(rule.id, message)] if message else []
    for row in memory.retired:
        message = speak(
            firing.get(row.rule, {}),
            series_id=row.series_id,
            episode=row.episode,
            kind=Kind.RESOLVED,
            severity=Severity(row.severity),
            notify=Notify.model_validate({}),
            places=1,
        )
        messages += [(row.rule, message)] if message else []
    for rule in {change.watch.rule.id: change.watch.rule for change in changes}.values():
        for series_id, member in firing[rule.id].items():
            watch = memory.watches.get((rule.id, series_id))
            if watch is not None and watch.follow(member.leader):
                memory.note(watch)
    for change in changes:
        if change.watch.machine.state is not State.FIRING and change.watch.follow(None):
            memory.note(change.watch)
    for rule_id, message in messages:
        others = sum(
            one.leader == Leader(message.series_id, message.episode) for one in firing[rule_id].values()
        )
        _mention(changes, rule_id, message, others - 1)
    memory.messages += messages


def _mention(changes: Sequence[Change], rule_id: str, message: Message, others: int) -> None:
    """Say in the message how many other places it stands for."""
    if others < 1 or message.kind is Kind.RESOLVED:
        return
    for change in changes:
        about: tuple[Any, ...] = (
            change.watch.rule.id,
            change.watch.series.series_id,
            change.episode,
            change.kind,
        )
        if about == (rule_id, *message):
            places = "1 other place" if others == 1 else f"{others} other places"
            change.detail["also_at"] = others
            change.detail["message"] = f"{change.detail['message']} The same at {places}."
