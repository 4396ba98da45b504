"""What rules said of a row group -> what the joint rules say that they are parts of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from foreshock_server.rules.columns import Junction
from foreshock_server.rules.joint import JointMemory, counting, heard, reached, score, told
from foreshock_server.rules.memory import Memory, WriterKey
from foreshock_server.rules.state import State
from foreshock_server.rules.watch import Change, Watch
from foreshock_server.store.rows import RowGroup


def join(
    session: Session,
    memory: Memory,
    key: WriterKey,
    one: Junction,
    group: RowGroup,
    order: tuple[int, int],
    said: Sequence[Change],
) -> list[Change]:
    """What comes of it; `said`: the transitions that the readings of this row group brought.

    A joint rule has a reading at each row that it is awake at: while it is not ok, or some rule counts. Rows that lie behind the
    furthest step of their attempt are passed over unless they bring a transition, which is then told at that step.
    """
    news = sorted((each for each in said if each.watch.rule.id in one.titles), key=lambda each: each.step)
    watch = memory.joints.get(one.rule.id)
    if watch is None:
        if not news:
            return []
        watch = memory.watch(session, one.rule, news[0].watch.series.series_id)
    elif not news and _sleeps(watch):
        return []
    changes: list[Change] = []
    before = watch.parts
    for row, step in enumerate(group.steps.tolist()):
        parts: JointMemory = watch.parts
        late = parts.attempt == key[0] and parts.clock is not None and step < parts.clock
        brought = [each for each in news if each.step <= step]
        news = news[len(brought) :]
        if not brought and (late or _sleeps(watch)):
            continue
        at = parts.clock if late and parts.clock is not None else step
        parts = reached(parts, key[0], at)
        for each in brought:
            parts = heard(parts, each.watch.rule.id, each.watch.series.series_id, each.kind, each.step)
        watch.parts = parts = counting(parts, one.joint.within_steps)
        came = len(changes)
        watch.see(
            [at],
            [float(group.times[row])],
            np.array([score(one.joint, one.parts, parts)], np.float64),
            attempt=key[0],
            order=(*order, one.rank),
            changes=changes,
            entries=[told(one.joint, one.parts, parts, one.titles)],
        )
        changes[came:] = [each._replace(order=(*order, row, *each.order[3:])) for each in changes[came:]]
    if watch.parts is not before:
        memory.note(watch)
    return changes


def _sleeps(watch: Watch) -> bool:
    """True when no reading could change anything."""
    return watch.machine.state is State.OK and not watch.parts.held
