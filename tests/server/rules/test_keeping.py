"""What is kept in memory between blocks changes when things are stored, and nothing else: against one reading at a time."""

from __future__ import annotations

import math
import random
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, event

from foreshock_server.models import Alert, Block, Run, Writer
from foreshock_server.rules import columns, joint, judge, memory, message
from foreshock_server.rules import evaluator as module
from foreshock_server.rules.columns import Subject
from foreshock_server.rules.derived import Moment
from foreshock_server.rules.detectors.reading import middle_of
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.state import Kind, Machine, State, advance

LOW = """
    id: low
    matches: [{statistic: "x*"}]
    detector: {kind: threshold, below: 1, clear: 2}
"""
RULES = (
    LOW,
    """
    id: slow
    matches: [{statistic: "x*"}]
    detector: {kind: threshold, below: 0.9, critical: 0.5, median: 3, relative_to_baseline: true, baseline_records: 4}
    for_steps: 2
    keep_firing_steps: 2
    cooldown_steps: 6
    warmup_steps: 3
    """,
    """
    id: leads
    matches: [{statistic: x2}]
    detector: {kind: forecast-drop, block: 2, blocks: 4, horizon: 20, median: 3, baseline_records: 4, clear_records: 4}
    """,
    """
    id: sinks
    matches: [{statistic: x1}]
    detector: {kind: drop, to: 0.6, critical: 0.3, clear: 0.8, against: best, median: 3, baseline_records: 2}
    keep_firing_steps: 1
    """,
    """
    id: leaps
    matches: [{statistic: "x*"}]
    detector: {kind: spike, z: 3, alone: 6, clear_records: 3, window: 16, min_records: 8, direction: both}
    """,
    """
    id: steep
    matches: [{statistic: x1}]
    detector: {kind: slope, below: -5, log: true, block: 2, blocks: 4, agreement: 0.6}
    """,
    """
    id: stuck
    matches: [{statistic: x2}]
    detector: {kind: plateau, improves: up, records: 6, median: 3}
    cooldown_steps: 4
    """,
    """
    id: outside
    matches: [{statistic: x1}]
    detector: {kind: band, low: 0.5, high: 1.5, median: 3, relative_to_baseline: true, baseline_records: 4}
    """,
    """
    id: nan
    matches: [{}]
    detector: {kind: non-finite, clear_after: 3}
    cooldown_steps: 5
    """,
    """
    id: often
    matches: [{statistic: "y*"}]
    detector: {kind: non-finite, counts: true, at_least: 3, of: 6, clear_after: 4}
    keep_firing_steps: 2
    """,
)
DERIVED = (
    """
    id: over
    matches: [{statistic: x1}]
    derive: {kind: ratio, other: {statistic: x2}, max_age_steps: 4}
    detector: {kind: threshold, above: 1.1, clear: 0.9, median: 3}
    for_steps: 1
    """,
    """
    id: part
    matches: [{statistic: x1}]
    derive: {kind: divergence, other: {statistic: y1}, window: 16, agreement: 0.5}
    detector: {kind: threshold, above: 0.2, clear: 0}
    """,
    """
    id: together
    matches: [{statistic: "x*"}]
    derive: {kind: correlation, other: {statistic: y2}, window: 8}
    detector: {kind: threshold, above: 0.4, median: 3}
    """,
    """
    id: most
    matches: [{statistic: "z*"}]
    derive: {kind: across, quantile: 0.4, places: 2, max_age_steps: 3}
    detector: {kind: forecast-drop, block: 2, blocks: 4, horizon: 20, median: 3, baseline_records: 4, clear_records: 4}
    """,
    """
    id: share
    matches: [{statistic: z}]
    derive: {kind: across, share_below: 0.8, places: 1, relative_to_baseline: true, baseline_records: 4}
    detector: {kind: threshold, above: 0.6, clear: 0.4}
    cooldown_steps: 4
    """,
)
JOINT = (
    """
    id: both
    joint: {all: [{rule: low}, {rule: slow}], within_steps: 3}
    keep_firing_steps: 2
    """,
    """
    id: then
    joint: {sequence: [{rule: over}, {rule: "l[eo]*"}], within_steps: 12}
    for_steps: 1
    cooldown_steps: 4
    """,
    """
    id: several
    joint: {any: [{rule: low}, {rule: sinks}, {rule: leaps}, {rule: nan}, {rule: part}], within_steps: 2}
    detector: {kind: threshold, above: 1.5, critical: 2.5, clear: 1.5}
    """,
)
SERIES = ("x1", "x2", "y1", "y2", "z@a", "z@b", "z@c")


def history(chance: random.Random, length: int):
    """(attempt, step, values) of each record: series that come and go, fall and recover; a resume takes the step back."""
    level, attempt, step, records = 3.0, 1, 0, []
    for _ in range(length):
        level = max(0.05, level * math.exp(chance.gauss(0, 0.25) + 0.15 * math.log(3.0 / level)))
        if chance.random() < 0.03:
            attempt, step = attempt + 1, max(0, step - 5)
        values = {"x1": level, "x2": level * chance.uniform(0.8, 1.2)}
        values |= {key: float(chance.random() < 0.25) for key in ("y1", "y2")}
        values |= {f"z@{place}": level * chance.uniform(0.7, 1.3) for place in "abc"}
        for key in SERIES:
            drawn = chance.random()
            values[key] = None if drawn < 0.1 else math.nan if drawn < 0.15 else values[key]
        records.append((attempt, step, values))
        step += chance.choice([1, 1, 1, 3])
    return records


def subject_of(number, key):
    statistic, _, place = key.partition("@")
    labels = {"place": place} if place else {}
    return Subject(number, key, statistic, "training", place, "nat", labels)


def read(rule, subject, records):
    """(time, step, value) of each reading of the series; of a rule that derives them, what it makes of each record in turn."""
    numbers = {key: number for number, key in enumerate(SERIES, 1)}
    if rule.derive is None:
        yield from ((1e9 * attempt + step, step, values[subject.key]) for attempt, step, values in records)
        return
    subjects = [subject_of(number, key) for key, number in numbers.items()]
    first = [one.key for one in subjects if rule.watches(one)] if rule.derive.many else [subject.key]
    other = [one.key for one in subjects if rule.compares(subject, one)]
    parts = rule.derive.initial()
    for attempt, step, values in records:
        row = {numbers[key]: values[key] for key in first if values[key] is not None}
        others = [values[key] for key in other if values[key] is not None]
        if row or others:
            parts, made = rule.derive.take(
                parts, Moment((attempt, "w"), step, 1e9 * attempt + step), row, others
            )
            yield from ((one.time, one.step, one.value) for one in made)


def one_at_a_time(rules, records):
    """What the rules say when every reading of every series is judged alone, and the state in which each ends."""
    said, ends = [], {}
    for number, key in enumerate(SERIES, 1):
        subject = subject_of(number, key)
        for rule in rules.rules:
            many = rule.derive is not None and rule.derive.many
            if not rule.watches(subject) or (many and key != "z@a"):
                continue
            machine, memory = Machine(), rule.detector.initial()
            for at, step, value in read(rule, subject, records):
                if value is None or step < rule.policy.warmup_steps:
                    continue
                may_skip = rule.detector.skips and machine.state is State.OK
                if may_skip and rule.detector.skim(memory, np.array([value])):
                    continue
                before = machine
                memory, reading = rule.detector.update(memory, step, value)
                machine, kind, reason = advance(
                    before, reading.breach, reading.critical, reading.clear, step, rule.policy
                )
                if kind is not None:
                    since = before.since_step if kind is Kind.RESOLVED else machine.since_step
                    numbers = message.as_json(rule, subject, reading, machine)
                    place = (
                        rule.id,
                        number,
                        machine.episode,
                        kind.value,
                        machine.severity.value,
                        step,
                        since,
                    )
                    said.append((*place, reason.value, at, numbers["level"], numbers["baseline"]))
            ends[rule.id, number] = (
                machine.state.value,
                machine.episode,
                machine.since_step,
                machine.fired_step,
            )
    for rule in rules.rules:
        if rule.joint is not None:
            events = [one for one in said if any(part.fits(one[0], "") for part in rule.joint.parts)]
            home, told, ends[rule.id, home] = joined(rules, rule, events, records)
            said += told
    return sorted(said, key=repr), ends


def joined(rules, rule, events, records):
    """What a joint rule says of these transitions, and where it is kept: under the series of which the first one was told."""
    ranks = {one.id: (one.derive is not None, rank) for rank, one in enumerate(rules.rules)}
    parts = [{one.id for one in some} for some in rules.parts_of(rule)]
    memory, machine, said, home = joint.JointMemory(), Machine(), [], None
    for attempt, step, _ in records:
        here = [one for one in events if one[8] == 1e9 * attempt + step]
        if home is None and here:
            home = min(here, key=lambda one: (ranks[one[0]][0], one[1], ranks[one[0]]))[1]
        if not here and not memory.held and machine.state is State.OK:
            continue
        memory = joint.reached(memory, attempt, step)
        for name, number, _, kind, *_ in here:
            memory = joint.heard(memory, name, number, Kind(kind), step)
        memory = joint.counting(memory, rule.joint.within_steps)
        level = float(joint.score(rule.joint, parts, memory))
        _, reading = rule.detector.update(rule.detector.initial(), step, level)
        before = machine
        machine, kind, reason = advance(
            before, reading.breach, reading.critical, reading.clear, step, rule.policy
        )
        if kind is not None:
            since = before.since_step if kind is Kind.RESOLVED else machine.since_step
            place = (rule.id, home, machine.episode, kind.value, machine.severity.value, step, since)
            said.append((*place, reason.value, 1e9 * attempt + step, level, None))
    return home, said, (machine.state.value, machine.episode, machine.since_step, machine.fired_step)


def found(run):
    """The same of what was stored."""
    said = sorted(
        (
            *(one.rule, one.series_id, one.episode, one.kind, one.severity, one.step, one.since_step),
            *(one.detail["reason"], one.at, one.detail["level"], one.detail["baseline"]),
        )
        for one in run.transitions()
    )
    return sorted(said, key=repr)


def assert_ends(database, run, expected):
    with database.reading() as session:
        for (rule, series), (state, episode, since, fired) in expected.items():
            row = session.get(Alert, (run.run, rule, series))
            if row is None:
                assert (state, episode) == (State.OK.value, 0)
            else:
                assert (row.state, row.episode, row.since_step, row.fired_step) == (
                    state,
                    episode,
                    since,
                    fired,
                )


def store_some(run, chance, records):
    """The next block: a few records of one attempt and of one or two frames; the records that are left."""
    size = chance.choice([1, 1, 2, 5, 12])
    some = [one for one in records[:size] if one[0] == records[0][0]]
    attempt, steps = some[0][0], [step for _, step, _ in some]
    run.block({key: [values[key] for *_, values in some] for key in SERIES}, steps=steps, attempt=attempt)
    return records[len(some) :]


@pytest.mark.parametrize("seed", range(6))
def test_however_it_is_cut_kept_and_killed_the_rules_say_what_one_reading_at_a_time_says(
    stored, evaluator, database, seed
):
    chance = random.Random(seed)
    records = history(chance, 150)
    watchers = [evaluator(*RULES, *DERIVED, *JOINT, settle=1e9) for _ in range(2)]
    said, ends = one_at_a_time(watchers[0].rules, records)
    assert {kind for _, _, _, kind, *_ in said} >= {"fired", "resolved"}
    made = {one.id for one in watchers[0].rules.rules if one.made}
    assert len({rule for rule, *_ in said} & made) >= 5
    left = records
    while left:
        left = store_some(stored, chance, left)
        drawn, number = chance.random(), chance.randrange(2)
        if drawn < 0.6:
            watchers[number].run_once()
        elif drawn < 0.7:
            watchers[number] = evaluator(*RULES, *DERIVED, *JOINT, settle=1e9)  # the old one was killed
        elif drawn < 0.75:
            watchers[number].close()
    for watcher in watchers:
        while watcher.run_once():
            pass
        watcher.close()
    last = evaluator(*RULES, *DERIVED, *JOINT)
    while last.run_once():
        pass
    assert found(stored) == said
    assert_ends(database, stored, ends)


def test_what_nobody_could_see_waits_and_what_somebody_could_does_not(stored, evaluator):
    watcher = evaluator(LOW, settle=1e9)
    stored.block({"x": [3.0, 3.0]})
    assert watcher.run_once() == 1
    assert watcher.run_once() == 0
    assert stored.evaluated() == {(1, "w"): 0}
    stored.block({"x": [0.5]}, first=2)
    assert watcher.run_once() == 1
    assert stored.evaluated() == {(1, "w"): 2}
    assert stored.drawn() == [("low", 1, 1, "fired", 2)]
    stored.block({"x": [0.4]}, first=3)
    watcher.run_once()
    assert stored.alert("low").reading["value"] == 0.5
    watcher.close()
    assert stored.alert("low").reading["value"] == 0.4
    assert stored.evaluated() == {(1, "w"): 3}


def test_what_is_pending_waits_too(stored, evaluator):
    slow = f"{LOW}    for_steps: 3\n"
    watcher = evaluator(slow, settle=1e9)
    stored.block({"x": [3.0, 0.5]})
    watcher.run_once()
    assert stored.evaluated() == {(1, "w"): 0}
    stored.block({"x": [0.5]}, first=2)
    watcher.run_once()
    assert stored.evaluated() == {(1, "w"): 0}
    stored.block({"x": [0.5, 0.5]}, first=3)
    watcher.run_once()
    assert [kind for *_, kind, _ in stored.drawn()] == ["fired"]
    assert stored.evaluated() == {(1, "w"): 3}


def test_what_can_wait_gives_way_to_what_is_new_and_is_stored_in_turn(new_run, evaluator, monkeypatch):
    monkeypatch.setattr(module, "SETTLE_SLICE", -1.0)
    monkeypatch.setattr(module, "RUNS_TOGETHER", 1)
    monkeypatch.setattr(module, "SETTLE_BLOCKS", 1)
    runs = [new_run(f"run-{number}") for number in range(4)]
    watcher = evaluator(LOW, settle=1e9)
    for run in runs:
        run.block({"x": [3.0]})
    after = []
    for _ in runs:
        watcher.run_once()
        after.append(sum(run.evaluated() == {(1, "w"): 1} for run in runs))
    assert after == [1, 2, 3, 4]


def test_what_waits_is_stored_after_a_while_or_when_it_is_much(stored, evaluator, monkeypatch):
    monkeypatch.setattr(module, "SETTLE_BLOCKS", 2)
    watcher = evaluator(LOW, settle=1e9)
    for first in range(3):
        stored.block({"x": [3.0]}, first=first)
        watcher.run_once()
    assert stored.evaluated() == {(1, "w"): 2}
    soon = evaluator(LOW, settle=0.0)
    soon.run_once()
    assert stored.evaluated() == {(1, "w"): 3}


def test_the_alerts_of_a_run_are_read_once(stored, evaluator, database):
    watcher = evaluator(*RULES, settle=1e9)
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    for first in range(5):
        stored.block({"x1": [3.0], "y1": [0.0]}, first=first)
        watcher.run_once()
    assert sum("FROM alerts" in one for one in asked) == 1
    assert not any(one.startswith(("UPDATE alerts", "INSERT INTO alerts")) for one in asked)


def test_a_series_and_a_frame_are_read_once_however_many_frames_come(stored, evaluator, monkeypatch):
    series, numbers = [], []

    def subjects(*args, **more):
        found = columns.subjects(*args, **more)
        series.extend(found)
        return found

    def frames(*args):
        numbers.extend(args[-1])
        return all_frames(*args)

    all_frames = judge.frames
    monkeypatch.setattr(memory, "subjects", subjects)
    monkeypatch.setattr(judge, "frames", frames)
    watcher = evaluator(LOW, settle=1e9)
    for first, keys in enumerate((["x1", "y1"], ["x1"], ["x1", "y1"], ["x2", "x1"], ["x2"])):
        stored.block({key: [0.5 if key == "x2" else 3.0] for key in keys}, first=first)
        watcher.run_once()
    assert stored.drawn() == [("low", 3, 1, "fired", 3)]  # which asks for all series of the run, too
    assert (series, numbers) == ([1, 2, 3], [1, 2, 3, 4])


def test_which_series_a_rule_watches_is_asked_once_however_often_it_fires(stored, evaluator, monkeypatch):
    asked, watches = [], Rule.watches
    monkeypatch.setattr(Rule, "watches", lambda self, one: asked.append(one.series_id) or watches(self, one))
    watcher, asked_by = evaluator(LOW), []
    for step in range(8):
        stored.block({"x": [0.5 if step % 2 else 3.0]}, steps=[step])
        watcher.run_once()
        asked_by.append(len(asked))
    assert len(stored.transitions()) == 8 - 1
    assert asked_by[0] < asked_by[1] == asked_by[-1]
    stored.block({"x": [3.0], "x2": [0.5]}, steps=[8])
    watcher.run_once()
    assert len(asked) > asked_by[-1]  # there is another


def test_a_run_that_somebody_else_went_on_with_is_read_again(stored, evaluator):
    mine, theirs = evaluator(LOW, settle=1e9), evaluator(LOW)
    stored.block({"x": [3.0]})
    mine.run_once()
    theirs.run_once()  # stores the cursor that the first one has only in memory
    stored.block({"x": [0.5]}, first=1)
    theirs.run_once()
    stored.block({"x": [3.0]}, first=2)
    assert mine.run_once() == 1
    assert stored.drawn() == [("low", 1, 1, "fired", 1), ("low", 1, 1, "resolved", 2)]


def test_a_deleted_run_is_forgotten_in_silence(stored, new_run, evaluator, database, caplog):
    watcher = evaluator(LOW, settle=1e9)
    stored.block({"x": [3.0]})
    watcher.run_once()
    with database.writing() as session:
        for model in (Block, Writer, Run):
            session.execute(delete(model))
    watcher.close()
    assert watcher._memories == {}
    assert caplog.records == []


def test_of_many_runs_one_that_fails_keeps_none_of_the_others_from_being_stored(
    new_run, evaluator, monkeypatch
):
    runs = [new_run(f"run-{number}") for number in range(4)]
    for run in runs:
        run.block({"x": [0.5]})
    store = module.store

    def fails(session, memory, now):
        if memory.run_id == "run-1":
            raise RuntimeError("pulled the plug")
        return store(session, memory, now)

    monkeypatch.setattr(module, "store", fails)
    assert evaluator(LOW).run_once() == 3
    assert [len(run.drawn()) for run in runs] == [1, 0, 1, 1]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=12))
def test_the_middle_is_what_the_standard_library_calls_the_median(values):
    ours, theirs = middle_of(values), median(values)
    assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))
