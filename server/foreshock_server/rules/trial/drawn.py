"""A case of a rule test -> what its rule did, by the code that judges runs, and where that differs from what is expected."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from sqlalchemy.orm import Session

from foreshock_server.reference.endpoint import reference
from foreshock_server.rules.columns import Subject
from foreshock_server.rules.judge import Judge
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.memory import Memory, Reach, WriterKey
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.references import NOTHING, Curve
from foreshock_server.rules.state import Kind, Severity, State
from foreshock_server.rules.trial.cases import Case, Expected, Sketch, When
from foreshock_server.rules.trial.drawing import BadDrawing, Drawn, draw
from foreshock_server.rules.watch import Watch
from foreshock_server.store.blocks import Portion, StoredBlock
from foreshock_server.store.layout import Slot
from foreshock_server.store.rows import RowGroup

_KEY = re.compile(r"(?P<statistic>[^{}\s]+)(?:\{(?P<labels>[^{}]*)\})?")
_FRAME = 1
_WORST = {State.OK: 0, State.PENDING: 1, State.FIRING: 2}


class Standing(NamedTuple):
    """Where an alert stands."""

    state: State
    severity: Severity | None  # while it fires

    def __str__(self) -> str:
        return self.state.value if self.severity is None else f"{self.state.value} ({self.severity.value})"


class Row(NamedTuple):
    """What was so after the readings of one step."""

    attempt: int
    step: int
    standings: Mapping[str, Standing]  # by key
    kinds: tuple[Kind, ...]  # of the transitions at this step


class Performed(NamedTuple):
    """A case and what came of it."""

    problems: list[str]  # what differs from what it expects, in lines; empty: nothing does
    drawings: Mapping[str, list[list[Drawn]]]  # by key, entry by entry
    rows: list[Row]


def run(case: Case, rules: RuleSet) -> list[str]:
    """What differs from what the case expects, in lines; empty: nothing does."""
    return perform(case, rules).problems


def perform(case: Case, rules: RuleSet) -> Performed:
    """The same, with what was drawn and how the alerts stood."""
    rule = rules.get(case.rule)
    if rule is None:
        return _refused(
            f"there is no rule {case.rule!r}; the pack has: {', '.join(one.id for one in rules.rules)}"
        )
    subjects: list[Subject] = []
    drawings: list[list[list[Drawn]]] = []  # of each series, of each of its entries
    for key, given in case.series.items():
        sketch = given if isinstance(given, Sketch) else Sketch(draw=given)
        texts = [sketch.draw] if isinstance(sketch.draw, str) else sketch.draw
        width = None if isinstance(sketch.draw, str) else len(texts)
        try:
            subjects.append(_subject(len(subjects) + 1, key, sketch, width))
            drawings.append(
                [_drawn(case, text, len(drawings) * 1000 + one) for one, text in enumerate(texts)]
            )
        except BadDrawing as bad:
            return _refused(f"series {key!r} {bad}")
    try:
        references = {
            key: Curve.of(
                {one.step: one.value for one in _drawn(case, text, -1 - place) if one.value is not None}
            )
            for place, (key, text) in enumerate(case.reference.items())
        }
    except BadDrawing as bad:
        return _refused(f"reference {bad}")
    drawn = {one.key: entries for one, entries in zip(subjects, drawings, strict=True)}
    watched = rules.series_of(rule, subjects)
    if not watched:
        return _refused(f"the rule watches none of the series {', '.join(drawn)}", drawn)
    rows = _judge(rule, rules.with_parts([rule.id]), subjects, drawings, references)
    unknown = {one.series for one in case.expect if one.series not in {None, *(one.key for one in watched)}}
    if unknown:
        said = f"`expect` names {sorted(map(str, unknown))}, which the rule does not watch here"
        return Performed([said], drawn, rows)
    return Performed(_differences(case, rows), drawn, rows)


def _refused(problem: str, drawings: Mapping[str, list[list[Drawn]]] | None = None) -> Performed:
    return Performed([problem], drawings or {}, [])


def worst(row: Row) -> Standing:
    """Of all series that the rule watches."""
    return max(row.standings.values(), key=lambda one: (_WORST[one.state], one.severity is Severity.CRITICAL))


def _drawn(case: Case, text: str, further: int) -> list[Drawn]:
    return draw(text, start=case.start, every=case.every, seconds=case.seconds, seed=case.seed + further)


def _subject(number: int, key: str, sketch: Sketch, width: int | None) -> Subject:
    match = _KEY.fullmatch(key)
    pairs = [one.partition("=") for one in (match["labels"] or "").split(",") if one] if match else []
    if match is None or any(not name or not equals for name, equals, _ in pairs):
        raise BadDrawing("has no key; write `statistic` or `statistic{place=model.layers.3,head=7}`")
    labels = {name: value for name, _, value in pairs}
    known = reference()["statistics"].get(match["statistic"], {})
    return Subject(
        number,
        key,
        match["statistic"],
        sketch.family or known.get("family", "training"),
        labels.get("place", ""),
        known.get("unit", "") if sketch.unit is None else sketch.unit,
        labels,
        None if width is None else {"name": sketch.axis, "size": width},
    )


class _Paper:
    """Drawn rows as a run's blocks: each step is one, of the attempt that drew it."""

    def __init__(self, subjects: Sequence[Subject], drawings: Sequence[Sequence[Sequence[Drawn]]]) -> None:
        self.slots: list[Slot] = []
        columns: list[dict[tuple[int, int], Drawn]] = []
        for subject, entries in zip(subjects, drawings, strict=True):
            width = None if subject.axis is None else len(entries)
            self.slots.append(Slot(subject.series_id, len(columns), width))
            columns += [{(one.attempt, one.step): one for one in entry} for entry in entries]
        self.rows: dict[int, list[tuple[int, RowGroup]]] = {}  # by attempt, with the step
        for at in sorted({at for column in columns for at in column}):
            drawn = [column.get(at) for column in columns]
            values = [None if one is None else one.value for one in drawn]
            if all(one is None for one in values):
                self.rows.setdefault(at[0], []).append((at[1], _group(at[1], 0.0, [])))
                continue
            time = next(one.time for one in drawn if one is not None)
            self.rows.setdefault(at[0], []).append((at[1], _group(at[1], time, values)))

    def portion(self, session: Session, run_id: str, writer: WriterKey, after: int, acked: int) -> Portion:
        group = self.rows[writer[0]][after][1]
        return Portion([StoredBlock(acked, 0.0, [group] if group.values.size else [])], acked)

    def layouts(
        self, session: Session, run_id: str, writer: WriterKey, numbers: Collection[int]
    ) -> Mapping[int, Sequence[Slot]]:
        return {_FRAME: self.slots}


class _Drafted(Memory):
    """Of a run that no database has."""

    def catch_up(self, session: Session) -> dict[int, Subject]:
        return self.subjects

    def reference(self, session: Session, run: str, watch: Watch) -> Curve:
        return self.references.get(("drawn", watch.series.key), NOTHING)


def _judge(
    rule: Rule,
    rules: RuleSet,
    subjects: Sequence[Subject],
    drawings: Sequence[Sequence[Sequence[Drawn]]],
    references: Mapping[str, Curve],
) -> list[Row]:
    paper = _Paper(subjects, drawings)
    judge = Judge(rules, paper)
    memory = _Drafted("drawn", {}, subjects={one.series_id: one for one in subjects})
    memory.references = {("drawn", key): curve for key, curve in references.items()}
    watched = rules.series_of(rule, subjects)
    nowhere = Session()  # of no database: nothing is asked of it
    found = []
    for attempt, rows in sorted(paper.rows.items()):
        for seq, (step, _) in enumerate(rows, 1):
            judge(nowhere, memory, {(attempt, "drawn"): Reach(0, seq)})
            kinds = tuple(change.kind for change in memory.changes if change.watch.rule is rule)
            memory.stored()
            standings = {one.key: _standing(memory, rule, one) for one in watched}
            found.append(Row(attempt, step, standings, kinds))
    return found


def _group(step: int, time: float, values: Sequence[float | None]) -> RowGroup:
    absent = np.array([[one is None for one in values]], np.bool_)
    return RowGroup(
        _FRAME,
        np.array([step], np.int64),
        np.array([time], np.float64),
        np.array([[np.nan if one is None else one for one in values]], np.float64),
        absent if absent.any() else None,
    )


def _standing(memory: Memory, rule: Rule, series: Subject) -> Standing:
    watch = memory.watches.get((rule.id, series.series_id)) or memory.joints.get(rule.id)
    if watch is None:
        return Standing(State.OK, None)
    machine = watch.machine
    return Standing(machine.state, machine.severity if machine.state is State.FIRING else None)


def _differences(case: Case, rows: Sequence[Row]) -> list[str]:
    problems = []
    for word, when, kind in (("fires", case.fires, Kind.FIRED), ("resolves", case.resolves, Kind.RESOLVED)):
        step = next((row.step for row in rows if kind in row.kinds), None)
        if when is not None and not _within(step, when):
            was = "it never did" if step is None else f"it did at step {step:,}"
            problems.append(f"`{word}: {when}`, but {was}")
    for one in case.expect:
        problems += _unmet(one, rows)
    return [*problems, *_timeline(rows)] if problems else []


def _within(step: int | None, when: When) -> bool:
    if when == "never" or step is None:
        return when == "never" and step is None
    low, high = when if isinstance(when, list) else (when, when)
    return int(low) <= step <= int(high)


def _unmet(one: Expected, rows: Sequence[Row]) -> list[str]:
    first, last = one.range
    wanted = [row for row in rows if first <= row.step <= last]
    if one.step is not None:
        wanted = _reached(rows, one.step)
    where = f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"
    if not wanted:
        return [f"{where}: {one.state} is expected, but nothing is drawn there"]
    for row in wanted:
        standing = row.standings[one.series] if one.series else worst(row)
        if standing.state.value != one.state or (
            one.severity is not None
            and (standing.severity is None or standing.severity.value != one.severity)
        ):
            expected = one.state + (f" ({one.severity})" if one.severity else "")
            of = f" of {one.series}" if one.series else ""
            return [f"{where}{of}: {expected} is expected, but at step {row.step:,} it is {standing}"]
    return []


def _reached(rows: Sequence[Row], step: int) -> list[Row]:
    """The last row up to this step, of the latest attempt that began before it and went on beyond it."""
    found: list[Row] = []
    for _, some in groupby(rows, key=lambda row: row.attempt):
        of_attempt = list(some)
        if of_attempt[0].step <= step <= of_attempt[-1].step:
            found = [[row for row in of_attempt if row.step <= step][-1]]
    return found


def _timeline(rows: Sequence[Row]) -> list[str]:
    """How each series stood, in stretches of steps."""
    lines = []
    for key in rows[0].standings:
        stretches = []
        for (attempt, standing), some in groupby(rows, key=lambda row: (row.attempt, row.standings[key])):
            steps = [row.step for row in some]
            span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
            stretches.append(f"{standing} {span}" + (f" of attempt {attempt}" if attempt > 1 else ""))
        lines.append(f"{key} was: {', '.join(stretches)}")
    return lines
