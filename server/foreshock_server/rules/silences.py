"""Blocks that come, and time that passes, -> what rules say that ask whether a series comes at all."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from foreshock_server.models import Run
from foreshock_server.rules.columns import Plan, there
from foreshock_server.rules.detectors import Absence
from foreshock_server.rules.memory import AlertKey, Memory, WriterKey
from foreshock_server.rules.watch import Change, Watch
from foreshock_server.store.blocks import StoredBlock
from foreshock_server.store.runs import RUNNING

_NEVER: frozenset[int] = frozenset()


def hear(
    session: Session, memory: Memory, key: WriterKey, block: StoredBlock, place: int, changes: list[Change]
) -> None:
    """Of each series that such a rule watches: whether it came with this block of the writer; `place`: of the block among others."""
    ran: dict[int, float] = {}
    came: dict[AlertKey, frozenset[int]] = {}
    ranks: dict[str, int] = {}
    for group in block.rows:
        plan: Plan = memory.plans[(*key, group.frame)]
        if not plan.presences and not memory.silences:
            continue
        steps = group.steps.tolist()
        ran |= zip(steps, group.times.tolist(), strict=True)
        whole = frozenset(steps)
        for one in plan.presences:
            watched = (one.rule.id, one.slot.series_id)
            if watched not in memory.silences:
                memory.watch(session, one.rule, one.slot.series_id)
            here = whole if group.absent is None else frozenset(group.steps[there(one.slot, group)].tolist())
            came[watched] = came[watched] | here if watched in came else here
            ranks[one.rule.id] = one.rank
    if not ran:
        return
    memory.ended = False
    course = sorted(ran.items())
    arrived = block.received_at or max(
        ran.values()
    )  # one that was drawn, or rests in segments, has no other time
    for watched, watch, detector in _watches(memory):
        heard = came.get(watched, _NEVER)
        if not heard and watch.heard.process != key:
            continue
        now, verdicts = detector.hear(watch.heard, key, course, heard, arrived)
        if watch.rule.detector is not detector:
            if watch.lapses_at(now, verdicts):
                memory.note(watch)
            if watch.waiting:
                memory.unshelve(watched)
        elif watch.told(
            now, verdicts, order=(place, len(block.rows), ranks.get(watched[0], 0)), changes=changes
        ):
            memory.note(watch)


def turn(memory: Memory, order: tuple[int, int], changes: list[Change]) -> None:
    """After a block: what came in it behind the last reading of a series, such as that it fell silent."""
    for watch in [watch for watch in (*memory.silences.values(), *memory.renewing) if watch.waiting]:
        if watch.waiting:
            memory.unshelve((watch.rule.id, watch.series.series_id))
            watch.turn((*order, 0), changes)
            memory.note(watch)
    memory.tasks.clear()


def look(memory: Memory, run: Run, now: float) -> list[Change]:
    """What is told when nothing has arrived of this run until now, on the clock of the server."""
    changes: list[Change] = []
    memory.ended = run.state != RUNNING
    if memory.ended:  # what has ended is not missed
        return changes
    for _, watch, detector in _watches(memory):
        later, verdicts = detector.look(watch.heard, now)
        if watch.rule.detector is detector and watch.told(later, verdicts, order=(0, 0, 0), changes=changes):
            memory.note(watch)
    return sorted(changes, key=lambda change: change.order)


def due(memory: Memory) -> float | None:
    """When the first of the run's series will be silent if nothing arrives; None: never."""
    if memory.ended or not memory.silences:
        return None
    times = [
        detector.due(watch.heard) for _, watch, detector in _watches(memory) if detector.seconds is not None
    ]
    return min((time for time in times if time is not None), default=None)


def _watches(memory: Memory) -> Iterator[tuple[AlertKey, Watch, Absence]]:
    for watched, watch in memory.silences.items():
        if watch.rule.listening is not None:
            yield watched, watch, watch.rule.listening
