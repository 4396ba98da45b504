"""A row group -> the readings that rules derive from several of its series and of others', judged as any reading is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from foreshock_server.rules.columns import Blend
from foreshock_server.rules.derived import Made, Moment, Reference
from foreshock_server.rules.memory import Memory, WriterKey
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.reduction import reduced
from foreshock_server.rules.references import Curve
from foreshock_server.rules.watch import Change, Watch
from foreshock_server.store.layout import Slot
from foreshock_server.store.rows import RowGroup

Row = dict[int, float]  # by series


def blend(
    session: Session,
    memory: Memory,
    key: WriterKey,
    one: Blend,
    group: RowGroup,
    order: tuple[int, int],
    changes: list[Change],
) -> None:
    """Row by row; `order`: the block and the row group."""
    first, other = _rows(one.rule, one.first, group), _rows(one.rule, one.other, group)
    if one.home is not None:
        watch = memory.watch(session, one.rule, one.home)
        _feed(memory, watch, key, group, first, [()] * len(first), (*order, one.rank), changes)
        return
    for slot in one.first:
        memory.watch(session, one.rule, slot.series_id)
    for number, watch in list(memory.derived.get(one.rule.id, {}).items()):
        pairing = (*key, group.frame, one.rule.id, number)
        partners = memory.partners.get(pairing)
        if partners is None:
            partners = memory.partners[pairing] = _partners(session, memory, one, number)
        own = [{number: row[number]} if number in row else {} for row in first]
        others = [[row[each] for each in partners if each in row] for row in other]
        if isinstance(one.rule.derive, Reference) and any(own):
            others = _read_there(
                memory.reference(session, one.rule.derive.run, watch), one.rule.derive, group
            )
        _feed(memory, watch, key, group, own, others, (*order, one.rank), changes)


def _partners(session: Session, memory: Memory, one: Blend, number: int) -> tuple[int, ...]:
    """The series of the frame that this one is compared with, in the order of the frame."""
    series = memory.subject(session, number)
    return tuple(
        slot.series_id
        for slot in one.other
        if one.rule.compares(series, memory.subject(session, slot.series_id))
    )


def _feed(
    memory: Memory,
    watch: Watch,
    key: WriterKey,
    group: RowGroup,
    first: Sequence[Row],
    other: Sequence[Sequence[float]],
    order: tuple[int, int, int],
    changes: list[Change],
) -> None:
    derivation = watch.rule.derive
    if derivation is None:
        return
    before, parts = watch.parts, watch.parts
    made: list[Made] = []
    steps, times = group.steps.tolist(), group.times.tolist()
    for row, (own, others) in enumerate(zip(first, other, strict=True)):
        if own or others:
            parts, found = derivation.take(parts, Moment(key, steps[row], times[row]), own, others)
            made += found
    watch.parts = parts
    if made:
        watch.see(
            [one.step for one in made],
            [one.time for one in made],
            np.array([one.value for one in made], np.float64),
            attempt=key[0],
            order=order,
            changes=changes,
            entries=[_said(memory, one) for one in made],
        )
    if made or parts is not before:
        memory.note(watch)


def _rows(rule: Rule, slots: Sequence[Slot], group: RowGroup) -> list[Row]:
    """What each row has of these series, one number of each."""
    vectors = [slot for slot in slots if slot.width is not None]
    rows = _numbers([slot for slot in slots if slot.width is None], group)
    for slot in vectors:
        there = None if group.absent is None else ~slot.of(group.absent)
        number = reduced(rule.reduction or "mean", slot.of(group.values), there)
        for row, value in zip(number.rows.tolist(), number.values.tolist(), strict=True):
            rows[row][slot.series_id] = value
    if not vectors:
        return rows
    ids = [slot.series_id for slot in slots]  # in their order, as of several partners the last one counts
    return [{one: row[one] for one in ids if one in row} for row in rows]


def _numbers(slots: Sequence[Slot], group: RowGroup) -> list[Row]:
    """The same of series that are numbers: all in one go."""
    if not slots:
        return [{} for _ in range(len(group.steps))]
    ids, columns = [slot.series_id for slot in slots], [slot.first for slot in slots]
    rows = [dict(zip(ids, row, strict=True)) for row in group.values[:, columns].tolist()]
    if group.absent is not None:
        for row, column in np.argwhere(group.absent[:, columns]).tolist():
            rows[row].pop(ids[column], None)
    return rows


def _read_there(curve: Curve, reference: Reference, group: RowGroup) -> list[list[float]]:
    """What the other run had read by the step of each row."""
    found = [curve.at(step, reference.max_age_steps) for step in group.steps.tolist()]
    return [[] if value is None else [value] for value in found]


def _said(memory: Memory, made: Made) -> str:
    """What the reading is of, and the places that stand out."""
    places = [one.place or one.key for one in (memory.subjects[number] for number in made.places)]
    return f"{made.says}: {', '.join(places)}" if places else made.says
