"""Trying rules on a stored run gives the transitions that happened live, wherever its blocks rest and however they were judged."""

from __future__ import annotations

import math
import random

import pytest
from sqlalchemy import select

from foreshock_server.models import Alert, Delivery, Run, Transition, Writer
from foreshock_server.rules.trial.replay import replay
from foreshock_server.sealing.ready import Ready
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.store import recorded

RULES = (
    """
    id: low
    matches: [{statistic: "x*"}]
    detector: {kind: threshold, below: 1, clear: 2}
    """,
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
    id: nan
    matches: [{}]
    detector: {kind: non-finite, clear_after: 3}
    cooldown_steps: 5
    """,
)
DERIVED = (
    """
    id: over
    matches: [{statistic: x1}]
    derive: {kind: ratio, other: {statistic: x2}, max_age_steps: 4}
    detector: {kind: threshold, above: 1.1, clear: 0.9}
    """,
    """
    id: together
    matches: [{statistic: x1}]
    derive: {kind: correlation, other: {statistic: y2}, window: 8}
    detector: {kind: threshold, above: 0.4, clear: 0.2}
    """,
    """
    id: most
    matches: [{statistic: "x?"}]
    derive: {kind: across, quantile: 0.5, places: 1, max_age_steps: 3}
    detector: {kind: threshold, below: 0.9, critical: 0.5, median: 3, relative_to_baseline: true, baseline_records: 4}
    for_steps: 2
    """,
)
JOINT = (
    """
    id: both
    joint: {all: [{rule: low}, {rule: "s*"}], within_steps: 3}
    keep_firing_steps: 2
    """,
    """
    id: then
    joint: {sequence: [{rule: most}, {rule: over}], within_steps: 20}
    """,
    """
    id: several
    joint: {any: [{rule: low}, {rule: nan}, {rule: together}], within_steps: 2}
    detector: {kind: threshold, above: 1.5, critical: 2.5}
    """,
)
SERIES = ("x1", "x2", "y1", "other", "y2")


def history(chance, length):
    """(attempt, step, values) of each record: series that come and go, fall and recover; a resume takes the step back."""
    level, attempt, step, records = 3.0, 1, 0, []
    for _ in range(length):
        level = max(0.05, level * math.exp(chance.gauss(0, 0.25) + 0.15 * math.log(3.0 / level)))
        if chance.random() < 0.03:
            attempt, step = attempt + 1, max(0, step - 5)
        values = {
            "x1": level,
            "x2": level * chance.uniform(0.8, 1.2),
            "y1": 1.0,
            "other": 2.0,
            "y2": chance.random(),
        }
        for key in SERIES:
            drawn = chance.random()
            values[key] = None if drawn < 0.1 else math.nan if drawn < 0.15 else values[key]
        records.append((attempt, step, values))
        step += chance.choice([1, 1, 1, 3])
    return records


def seal_some(database, run, chance):
    """Seal what the rules have seen, or a part of it."""
    with database.writing() as session:
        rows = list(session.query(Writer).filter_by(run_id=run.run))
        for one in rows:
            one.tallied_seq = one.acked_seq
        waiting = [
            Ready(
                one.run_id,
                one.attempt,
                one.writer,
                one.sealed_seq,
                chance.randint(one.sealed_seq, one.evaluated_seq),
            )
            for one in rows
        ]
    for one in waiting:
        if one.upto > one.sealed:
            Sealer(database).seal(one)


def live(run):
    """What happened, as it is stored."""
    return sorted(
        (
            *(one.rule, one.series_id, one.episode, one.kind, one.severity, one.step, one.since_step, one.at),
            *(
                one.detail[name]
                for name in ("reason", "value", "level", "baseline", "share_of_baseline", "threshold")
            ),
        )
        for one in run.transitions()
    )


def again(database, run, rules):
    """The same, replayed."""
    with database.reading() as session:
        said = [one.change for one in replay(session, run.run, rules)]
    return sorted(
        (
            *(one.watch.rule.id, one.watch.series.series_id, one.episode, one.kind.value, one.severity.value),
            *(one.step, one.since_step, one.at),
            *(
                one.detail[name]
                for name in ("reason", "value", "level", "baseline", "share_of_baseline", "threshold")
            ),
        )
        for one in said
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_replay_says_what_was_said_live(stored, evaluator, database, seed):
    """Blocks of any size, some lost, of any frames; two workers that take over from each other and are killed; sealing meanwhile."""
    chance, run = random.Random(seed), stored
    watchers = [evaluator(*RULES, *DERIVED, *JOINT, settle=1e9) for _ in range(2)]
    left = history(chance, 120)
    while left:
        size = chance.choice([1, 1, 2, 5, 12])
        some = [one for one in left[:size] if one[0] == left[0][0]]
        left = left[len(some) :]
        keys = [SERIES, ("x2", "y2"), ("x1", "y1"), ("other",)][chance.randrange(4)]
        columns = {key: [values[key] for *_, values in some] for key in keys}
        run.block(
            columns, steps=[step for _, step, _ in some], attempt=some[0][0], skip=int(chance.random() < 0.05)
        )
        drawn, number = chance.random(), chance.randrange(2)
        if drawn < 0.5:
            watchers[number].run_once()
        elif drawn < 0.6:
            watchers[number] = evaluator(*RULES, *DERIVED, *JOINT, settle=1e9)  # the old one was killed
        elif drawn < 0.7:
            watchers[number].close()  # the other goes on from what is stored
        elif drawn < 0.8:
            seal_some(database, run, chance)
    for watcher in watchers:
        while watcher.run_once():
            pass
        watcher.close()
    last = evaluator(*RULES, *DERIVED, *JOINT)
    while last.run_once():
        pass
    happened = live(run)
    assert {one[3] for one in happened} == {"fired", "resolved"} | (
        {one[3] for one in happened} & {"escalated"}
    )
    assert {one[0] for one in happened} & {"over", "together", "most"}
    assert {one[0] for one in happened} & {"both", "then", "several"}
    assert again(database, run, last.rules) == happened
    seal_some(database, run, chance)
    assert again(database, run, last.rules) == happened


def fallen(run, evaluator):
    """A run that falls and recovers, evaluated."""
    run.block({"x1": [3.0] * 50 + [0.5] * 10, "other": [1.0] * 60})
    run.block({"x1": [0.5] * 10 + [3.0] * 30, "other": [1.0] * 40}, first=60)
    watcher = evaluator(*RULES)
    while watcher.run_once():
        pass
    return watcher.rules


def test_a_replay_stores_nothing(stored, evaluator, database):
    rules = fallen(stored, evaluator)
    before = everything(database)
    with database.writing() as session:  # where a change would be kept
        assert list(replay(session, stored.run, rules))
    assert everything(database) == before


def everything(database):
    with database.reading() as session:
        return [
            [tuple(row) for row in session.execute(select(table).order_by(*table.primary_key.columns))]
            for table in (model.__table__ for model in (Alert, Transition, Writer, Run, Delivery))
        ]


def test_a_replay_knows_which_changes_were_worth_a_message(stored, evaluator, database):
    """Two series that fall together are one message, and so they are when both are well again."""
    readings = [3.0] * 5 + [0.5] * 5 + [3.0] * 5
    stored.block({"x1": readings, "x2": readings})
    with database.reading() as session:
        said = list(replay(session, stored.run, evaluator(RULES[0]).rules))
    assert len(said) == 4
    assert sorted((one.key, one.change.kind.value) for one in said if one.told) == [
        ("x1", "fired"),
        ("x1", "resolved"),
    ]


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_long_row_groups_change_nothing(stored, evaluator, database, monkeypatch, rows):
    rules = fallen(stored, evaluator)
    seal_some(database, stored, type("All", (), {"randint": staticmethod(lambda _low, high: high)}))
    monkeypatch.setattr(recorded, "MOST_ROWS", rows)
    assert again(database, stored, rules) == live(stored) != []


def test_series_that_no_rule_watches_are_not_read(stored, evaluator, database, monkeypatch):
    rules = fallen(stored, evaluator)
    seal_some(database, stored, type("All", (), {"randint": staticmethod(lambda _low, high: high)}))
    shapes = []
    original = recorded.RowGroup

    def group(*parts):
        shapes.append(parts[3].shape)
        return original(*parts)

    monkeypatch.setattr(recorded, "RowGroup", group)
    few = type(rules)(tuple(rule for rule in rules.rules if rule.id == "low"), rules.origins)
    assert again(database, stored, few)
    assert {shape[1] for shape in shapes} == {1}


def test_a_run_without_a_series_for_the_rules_says_nothing(stored, evaluator, database):
    stored.block({"z": [1.0, 2.0]})
    rules = evaluator(RULES[0]).rules
    assert again(database, stored, rules) == []


def test_a_backlog_of_two_attempts_is_judged_in_the_order_of_recording(
    stored, evaluator, database, monkeypatch
):
    """Many blocks of an early attempt, and a later one, are there before anybody looks."""
    from foreshock_server.rules import judge

    monkeypatch.setattr(judge, "BLOCKS_AT_ONCE", 2)
    for step in range(9):
        stored.block({"x1": [3.0 if step < 5 else 0.5]}, first=step)
    for step in range(3):
        stored.block({"x1": [3.0]}, first=6 + step, attempt=2)
    watcher = evaluator(RULES[0])
    while watcher.run_once():
        pass
    assert stored.drawn() == [("low", 1, 1, "fired", 5), ("low", 1, 1, "resolved", 6)]
    assert again(database, stored, watcher.rules) == live(stored)
