"""The rows of a group -> of each guarded series which of its readings do not count, because of what they rest on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.rules.columns import Plan, there
from foreshock_server.rules.memory import AlertKey, Memory
from foreshock_server.store.rows import RowGroup

Held = dict[AlertKey, NDArray[np.bool_]]  # by rule and series, of each row; who is not in it has none


def hold(session: Session, memory: Memory, plan: Plan, group: RowGroup) -> Held:
    """What the companions in this group say of its rows, and what those of other frames have said before."""
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
            found[rule.id, slot.series_id] = int(rows[0])
    return found
