"""New tasks, told or found: what forgetting is measured from, and how often a healthy loss is taken for a new task.

The numbers that a README may quote are printed with `pytest -s`; the bounds below are what must not get worse.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.server.rules.synthetic import healthy, noise

from foreshock_server.rules.detectors import Shift, Threshold
from foreshock_server.rules.detectors.reading import Baseline
from foreshock_server.rules.load import BadRules, RuleSet, parse_pack
from foreshock_server.rules.state import Kind
from foreshock_server.rules.trial.replay import replay
from foreshock_server.settings import Settings

BUILT_IN = RuleSet.load(Settings())
FOUND = BUILT_IN.get("task-boundary")
TOLD = """
    id: told
    matches: [{statistic: task}]
    detector: {kind: change}
    boundary: announced
"""
SEEN = """
    id: seen
    matches: [{statistic: loss}]
    detector: {kind: spike, z: 5, alone: null, consecutive: 2, window: 16, min_records: 8}
    boundary: detected
"""
KEPT = """
    id: kept
    matches: [{statistic: old}]
    detector: {kind: threshold, below: 0.8, relative_to_baseline: true, baseline_records: 2}
    renew: true
"""
FROZEN = KEPT.replace("id: kept", "id: frozen").replace("renew: true", "renew: false")


def judged(watcher):
    while watcher.run_once():
        pass
    watcher.close()


# --- what a boundary does


@pytest.mark.parametrize(
    ("value", "recent", "way", "expected"),
    [
        (0.5, (0.6, 0.9, 0.8), 1, 0.8),
        (0.5, (0.1, 0.6, 0.9, 0.8), 1, 0.8),  # the last three
        (0.5, (0.3, 0.4), 1, 0.5),  # less than before: what was reached once counts
        (0.5, (0.3, 0.4), -1, 0.35),
        (None, (0.3,), 1, 0.3),
        (0.5, (), 1, 0.5),
    ],
)
def test_a_baseline_is_renewed_to_what_was_reached_where_that_asks_for_more(value, recent, way, expected):
    assert Baseline(value).renewed(recent, way).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("detector", "expected"),
    [
        (
            Threshold(kind="threshold", below=0.5, relative_to_baseline=True, baseline_records=2, median=3),
            8.0,
        ),
        (Threshold(kind="threshold", above=2, relative_to_baseline=True, baseline_records=2, median=3), 2.0),
        (Shift(kind="drop", to=0.5, baseline_records=2, median=3), 8.0),
        (Shift(kind="rise", to=2, baseline_records=2, median=3), 2.0),
    ],
)
def test_what_must_not_fall_is_measured_from_the_highest_and_what_must_not_rise_from_the_lowest(
    detector, expected
):
    memory = detector.initial()
    for step, value in enumerate([2.0, 2.0, 8.0, 8.0, 8.0]):
        memory, _ = detector.update(memory, step, value)
    assert detector.renewed(memory).baseline.value == expected


@pytest.mark.parametrize("detector", ["{kind: threshold, below: 1}", "{kind: plateau, improves: up}"])
def test_what_has_no_baseline_has_none_to_renew(pack_text, detector):
    lines = f"id: one\nmatches: [{{statistic: x}}]\ndetector: {detector}\nrenew: true"
    with pytest.raises(BadRules, match="`renew` is about a baseline"):
        parse_pack(pack_text(lines), "mine.yaml")


# --- through the database

# Learnt from 0.3 to 0.9 in the first task, half forgotten in the second.
OLD = [0.3, 0.3, 0.6, 0.8, 0.9, 0.9, 0.9, *[0.5] * 5]
TASK = [1.0] * 7 + [2.0] * 5


@pytest.mark.parametrize(
    ("size", "apart"), [(1, False), (3, False), (5, False), (12, False), (1, True), (3, True), (5, True)]
)
def test_what_was_learnt_in_a_task_is_measured_from_its_end(stored, evaluator, database, size, apart):
    for first in range(0, 12, size):
        rows = {"old": OLD[first : first + size], "task": TASK[first : first + size]}
        for some in ({"task": rows["task"]}, {"old": rows["old"]}) if apart else (rows,):
            stored.block(some, first)
        judged(evaluator(TOLD, KEPT, FROZEN))
    said = [(rule, kind, step) for rule, _, _, kind, step in stored.drawn() if rule != "told"]
    assert said == [("kept", "fired", 7)]
    assert stored.alert("kept", 1 if not apart else 2).reading["baseline"] == 0.9
    with database.reading() as session:
        again = [one.change for one in replay(session, stored.run, evaluator(TOLD, KEPT, FROZEN).rules)]
    assert sorted((one.watch.rule.id, one.episode, one.kind.value, one.step) for one in again) == sorted(
        (one.rule, one.episode, one.kind, one.step) for one in stored.transitions()
    )


def test_a_task_is_told_at_each_change_also_where_it_is_logged_only_then(stored, evaluator):
    stored.block({"old": [0.2, 0.2, 0.5, 0.5, 0.9, 0.6, 0.6], "task": [1, None, 2, None, None, 3, None]})
    judged(evaluator(TOLD, KEPT))
    assert stored.alert("kept").reading["baseline"] == 0.9
    assert [one[3:] for one in stored.drawn() if one[0] == "kept"] == [("fired", 5)]


LOSS = [0.5, 0.6] * 6 + [0.5, 3.0, 3.0, 3.0, 3.0, 3.0]
SCORE = [0.3, 0.3] + [0.9] * 13 + [0.6] * 3


def test_what_is_found_counts_where_nobody_tells(stored, evaluator):
    stored.block({"loss": LOSS, "old": SCORE})
    judged(evaluator(TOLD, SEEN, KEPT))
    assert [one[0] for one in stored.drawn()] == ["seen", "kept"]


def test_where_the_run_tells_what_is_found_does_not_count(stored, evaluator):
    stored.block({"loss": LOSS, "old": SCORE, "task": [1.0] * len(LOSS)})
    judged(evaluator(TOLD, SEEN, KEPT))
    assert [one[0] for one in stored.drawn()] == ["seen"]


@pytest.mark.parametrize("seed", range(5))
def test_however_it_is_cut_kept_killed_and_replayed_the_same_is_said(stored, evaluator, database, seed):
    chance, rules = random.Random(seed), (TOLD, KEPT, FROZEN)
    task, score, records = 1.0, 0.5, []
    for step in range(120):
        task += chance.random() < 0.08
        score = min(1.0, max(0.05, score + chance.gauss(0, 0.12)))
        records.append((step, {"task": task, "old": score if chance.random() < 0.7 else None}))
    baseline, gathered, firing, expected, tasks, last = None, [], False, [], [], None
    recent: list[float] = []
    for step, values in records:  # one reading at a time
        if last is not None and values["task"] != last:
            tasks.append(step)
        last = values["task"]
        if values["old"] is None:
            continue
        while tasks and tasks[0] <= step:
            tasks.pop(0)
            baseline = max([*([] if baseline is None else [baseline]), *recent])
        gathered.append(values["old"])
        if baseline is None and len(gathered) == 2:
            baseline = sum(gathered) / 2
        recent = [values["old"]]
        if baseline is not None and (values["old"] < 0.8 * baseline) is not firing:
            firing = not firing
            expected.append(("fired" if firing else "resolved", step))
    watchers, left = [evaluator(*rules, settle=1e9) for _ in range(2)], records
    while left:
        size = chance.choice([1, 1, 2, 5, 12])
        some, left = left[:size], left[size:]
        stored.block(
            {key: [one[key] for _, one in some] for key in ("task", "old")}, steps=[one for one, _ in some]
        )
        what, number = chance.random(), chance.randrange(2)
        if what < 0.6:
            watchers[number].run_once()
        elif what < 0.7:
            watchers[number] = evaluator(*rules, settle=1e9)  # the old one was killed
    for watcher in (*watchers, evaluator(*rules)):
        judged(watcher)
    said = {
        rule: sorted(((one[3], one[4]) for one in stored.drawn() if one[0] == rule), key=lambda one: one[1])
        for rule in ("kept", "frozen")
    }
    assert said["kept"] == expected
    assert said["kept"] != said["frozen"]
    with database.reading() as session:
        again = [one.change for one in replay(session, stored.run, watchers[0].rules)]
    assert sorted((one.watch.rule.id, one.episode, one.kind.value, one.step) for one in again) == sorted(
        (one.rule, one.episode, one.kind, one.step) for one in stored.transitions()
    )


# --- what is found, measured

RUNS, STEPS = 60, 2000


def boundaries(values):
    """The steps at which the built-in rule takes a new task to begin."""
    from foreshock_server.rules.columns import Subject
    from foreshock_server.rules.watch import Watch

    watch, changes = Watch.begin(FOUND, Subject(1, "loss", "loss", "training", "", "", {})), []
    steps = list(range(len(values)))
    watch.see(steps, [0.0] * len(values), np.asarray(values), attempt=1, order=(0, 0, 0), changes=changes)
    return [one.step for one in changes if one.kind is Kind.FIRED]


def sequence_of_tasks(chance, tasks=4, length=300):
    """A loss that decays within each task at a pace of its own, to a level of its own, and leaps with the next one."""
    parts = []
    for _ in range(tasks):
        high, low, pace = chance.uniform(1.0, 4.0), chance.uniform(0.05, 0.4), 10 ** chance.uniform(1.2, 2)
        parts.append(low + (high - low) * np.exp(-np.arange(length) / pace))
    return np.concatenate(parts) * np.exp(noise(tasks * length, chance))


def test_a_healthy_loss_is_hardly_ever_taken_for_a_new_task():
    chance = np.random.default_rng(12)
    wrong = [len(boundaries(healthy(STEPS, chance))) for _ in range(RUNS)]
    print(
        f"{sum(wrong)} boundaries found in {RUNS} healthy runs of {STEPS} steps, in {np.mean(np.array(wrong) > 0):.1%} of runs"
    )
    assert sum(wrong) <= 0.05 * RUNS


def test_new_tasks_are_found_within_some_records_and_nothing_else_is():
    chance, found, late, wrong = np.random.default_rng(13), 0, [], 0
    for _ in range(RUNS):
        seen = boundaries(sequence_of_tasks(chance))
        for begins in (300, 600, 900):
            near = [step - begins for step in seen if 0 <= step - begins < 40]
            found += bool(near)
            late += near[:1]
        wrong += sum(not any(0 <= step - begins < 40 for begins in (300, 600, 900)) for step in seen)
    print(
        f"{found / (3 * RUNS):.1%} of {3 * RUNS} boundaries found, {np.median(late):.0f} records late, {wrong} wrong"
    )
    assert found >= 0.95 * 3 * RUNS
    assert np.median(late) <= 8
    assert wrong <= 0.02 * 3 * RUNS
