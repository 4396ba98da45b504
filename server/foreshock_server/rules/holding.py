"""The rows of a group -> of each guarded series which of its readings do not count, because of what they rest on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.rules.columns import Plan, there
from foreshock_server.rules.guards import Calm
from foreshock_server.rules.memory import AlertKey, Memory, WriterKey
from foreshock_server.store.rows import RowGroup

Held = dict[AlertKey, NDArray[np.bool_]]  # by rule and series, of each row; who is not in it has none


def hold(session: Session, memory: Memory, key: WriterKey, plan: Plan, group: RowGroup) -> Held:
    """What the companions in this group say of its rows, and what those of other frames have said before."""
    frame = (*key, group.frame)
    if frame not in memory.calm:
        memory.calm[frame] = _calm(memory, plan)
    calm = memory.calm[frame]
    if calm is not None and calm.lets_pass(group):
        return {}
    return _held(session, memory, plan, group)


def _held(session: Session, memory: Memory, plan: Plan, group: RowGroup) -> Held:
    begins = _begun(session, memory, plan, group)
    steps = group.steps.tolist()
    beside: dict[tuple[AlertKey, int], NDArray[np.bool_] | None] = {}
    for slot in plan.companions:
        readable, values = there(slot, group), group.values[:, slot.first].astype(np.float64)
        for watch, number in memory.beside(slot.series_id):
            key = (watch.rule.id, watch.series.series_id)
            came = readable if key not in begins else readable & (np.arange(len(steps)) >= begins[key])
            beside[key, number], changed = watch.gauge(number, steps, values, came)
            if changed:
                memory.calm.clear()
                memory.note(watch)
    found: Held = {}
    for rule, slot in plan.guarded:
        key = (rule.id, slot.series_id)
        kept = memory.watches.get(key)
        for number, gauge in enumerate(() if kept is None else kept.gauges):
            mask = beside.get((key, number))
            if (key, number) not in beside and gauge.since is not None:
                mask = np.array([gauge.holds(step) for step in steps])
            if mask is not None and mask.any():
                found[key] = mask | found[key] if key in found else mask
    return found


def _calm(memory: Memory, plan: Plan) -> Calm | None:
    """Which rows of the frame need no closer look; None: all do."""
    watches = [memory.watches.get((rule.id, slot.series_id)) for rule, slot in plan.guarded]
    if not all(watch is not None and watch.sighted for watch in watches):
        return None
    bounds, steps = [], []
    for slot in plan.companions:
        for watch, number in memory.beside(slot.series_id):
            one = watch.rule.needs[number].bounds(watch.gauges[number])
            if one is None:
                return None
            bounds.append((slot.first, one.low, one.high))
            steps.append(one.step)
    for gauge in (gauge for watch in watches if watch is not None for gauge in watch.gauges):
        if gauge.is_short:
            return None
        steps += [] if gauge.until is None else [gauge.until]
    columns, low, high = np.array(bounds, np.float64).reshape(-1, 3).T
    return Calm(columns.astype(np.intp), low, high, max(steps, default=0))


def _begun(session: Session, memory: Memory, plan: Plan, group: RowGroup) -> dict[AlertKey, int]:
    """The guarded series whose first reading is in this group, and its row: what their companions read before says nothing."""
    found: dict[AlertKey, int] = {}
    for rule, slot in plan.guarded:
        watch = memory.watches.get((rule.id, slot.series_id))
        if watch is not None and watch.sighted:
            continue
        rows = np.flatnonzero(there(slot, group))
        if len(rows):
            watch = watch or memory.watch(session, rule, slot.series_id)
            watch.sighted = True
            memory.calm.clear()
            found[rule.id, slot.series_id] = int(rows[0])
    return found
