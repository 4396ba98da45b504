"""A series that no longer comes: by the steps of its process, by the clock, live and replayed."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from foreshock_server.rules.detectors import Absence
from foreshock_server.rules.load import BadRules, parse_pack
from foreshock_server.store.runs import finish_attempt

PROCESS = (1, "w")
HOOK = """
    id: hook
    matches: [{statistic: x}]
    detector: {kind: absence, steps: 3}
"""
STALL = """
    id: stall
    matches: [{statistic: x}]
    detector: {kind: absence, seconds: 60}
"""


def absence(**parameters):
    return Absence(kind="absence", **parameters)


def heard(detector, blocks, process=PROCESS):
    """(silent, step) of each verdict; a block is (steps of the process, those with a reading, when it arrived)."""
    memory, told = detector.initial(), []
    for ran, came, at in blocks:
        memory = detector.load(json.loads(json.dumps(detector.dump(memory))))
        memory, verdicts = detector.hear(memory, process, [(step, float(step)) for step in ran], came, at)
        told += verdicts
    return [(one.silent, one.step) for one in told], memory


def test_a_series_is_silent_when_its_process_goes_on_for_more_steps_without_it():
    told, _ = heard(absence(steps=3), [(range(10), {0, 1}, 0.0)])
    assert told == [(True, 5)]
    told, _ = heard(absence(steps=3), [(range(10), {0, 4, 8}, 0.0)])  # as rare as it may be
    assert told == []
    told, _ = heard(absence(steps=3), [(range(10), {0, 9}, 0.0)])
    assert told == [(True, 4), (False, 9)]


def test_the_last_step_is_not_over_before_the_next_one_has_begun():
    detector = absence(steps=3)
    told, _ = heard(detector, [([0, 1, 2, 3, 4], {0}, 0.0), ([4], {4}, 0.0), ([5], set(), 0.0)])
    assert told == []


def test_what_never_came_is_not_missed():
    assert heard(absence(steps=1, seconds=1), [(range(50), set(), 99.0)])[0] == []


def test_nothing_of_it_for_longer_than_so_many_seconds():
    detector = absence(seconds=60)
    told, memory = heard(detector, [([0], {0}, 100.0), ([1], {1}, 160.0)])
    assert told == []
    assert detector.due(memory) == 220.0
    assert detector.look(memory, 220.0) == (memory, [])
    silent, (verdict,) = detector.look(memory, 9999.0)
    assert (verdict.silent, verdict.step, verdict.at) == (True, 1, 220.0)  # told at the moment it happened
    assert verdict.note == "nothing arrived for 60 s"
    assert detector.look(silent, 99999.0) == (silent, [])
    _, (again,) = detector.hear(silent, PROCESS, [(2, 500.0)], {2}, 500.0)
    assert (again.silent, again.step, again.at) == (False, 2, 500.0)


def test_a_resume_begins_to_count_anew_and_is_heard():
    detector = absence(steps=3)
    _, memory = heard(detector, [(range(10), {0}, 0.0)])
    memory, told = detector.hear(memory, (2, "v"), [(5, 5.0)], set(), 0.0)
    assert told == []  # of another process that does not bring it
    memory, told = detector.hear(memory, (2, "v"), [(6, 6.0), (7, 7.0)], {6}, 0.0)
    assert [(one.silent, one.step) for one in told] == [(False, 6)]
    assert memory.process == (2, "v")


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_no_cut_into_blocks_changes_what_is_told(seed, most):
    """Against one row at a time, and against the definition."""
    chance = random.Random(seed)
    steps = sorted(chance.sample(range(60), 30))
    came = {step for step in steps if chance.random() < 0.3}
    blocks, left = (
        [],
        [(step, frame) for step in steps for frame in range(2)],
    )  # the second frame has the series
    while left:
        size = chance.randint(1, 7)
        some, left = left[:size], left[size:]
        readings = {step for step, frame in some if frame == 1 and step in came}
        blocks.append((sorted({step for step, _ in some}), readings, 0.0))
    last, silent, expected = None, False, []
    for step, later in zip(steps, [*steps[1:], None], strict=True):
        if step in came:
            last = step
            if silent:
                expected.append((False, step))
            silent = False
        elif last is not None and step - last > most and not silent and later is not None:
            silent = True
            expected.append((True, step))
    assert heard(absence(steps=most), blocks)[0] == expected


@pytest.mark.parametrize(
    ("detector", "further", "sentence"),
    [
        ("{kind: absence}", "", "write `steps: STEPS`, `seconds: SECONDS` or both"),
        ("{kind: absence, steps: 0}", "", "`detector.steps` is 0"),
        ("{kind: absence, steps: 3}", "for_steps: 2", "waits by its own `steps` and `seconds`"),
        ("{kind: absence, steps: 3}", "reduce: max", "waits by its own"),
        ("{kind: absence, second: 3}", "", "did you mean `seconds`?"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(pack_text, detector, further, sentence):
    lines = f"id: one\nmatches: [{{statistic: x}}]\ndetector: {detector}\n{further}"
    with pytest.raises(BadRules, match=sentence):
        parse_pack(pack_text(lines), "mine.yaml")
    with pytest.raises(ValidationError):
        absence()


# --- through the database


def judged(watcher):
    while watcher.run_once():
        pass


@pytest.mark.parametrize("sizes", [(20,), (1,) * 20, (3, 1, 7, 2, 7)])
def test_a_hook_that_falls_silent_fires_and_resolves_however_the_blocks_are_cut(stored, evaluator, sizes):
    watcher, first = evaluator(HOOK), 0
    for size in sizes:
        steps = range(first, first + size)
        stored.block(
            {"x": [1.0 if step < 3 or step >= 12 else None for step in steps], "y": [2.0] * size}, first
        )
        judged(watcher)
        watcher = evaluator(HOOK)  # and whoever goes on
        first += size
    assert stored.drawn() == [("hook", 1, 1, "fired", 6), ("hook", 1, 1, "resolved", 12)]
    fired, resolved = stored.transitions()
    assert fired.detail["message"] == "A title since step 6: 4 steps without a reading."
    assert resolved.detail["message"] == "Resolved: A title at step 12: it is heard again (fired at step 6)."


def test_a_stall_is_told_while_nothing_comes_and_the_same_when_it_is_replayed(new_run, evaluator, channel):
    now = [1000.0]
    live, replayed = new_run("live"), new_run("replayed")
    watcher = evaluator(STALL, clock=lambda: now[0])
    live.block({"x": [1.0, 1.0]}, at=1000.0)
    judged(watcher)
    now[0] = 1060.0
    judged(watcher)
    assert live.drawn() == []
    now[0] = 1061.0
    judged(watcher)
    judged(watcher)
    assert live.drawn() == [("stall", 1, 1, "fired", 1)]
    assert live.deliveries() == [("stall", 1, 1, "fired")]
    now[0] = 2000.0
    live.block({"x": [1.0]}, 2, at=2000.0)
    judged(watcher)
    for first, size, at in ((0, 2, 1000.0), (2, 1, 2000.0)):
        replayed.block({"x": [1.0] * size}, first, at=at)
    judged(evaluator(STALL, clock=lambda: 2000.0))
    seen = [
        [(*one, each.at) for one, each in zip(run.drawn(), run.transitions(), strict=True)]
        for run in (live, replayed)
    ]
    assert seen[0] == seen[1]
    assert [one[3] for one in seen[0]] == ["fired", "resolved"]
    assert live.transitions()[0].at == 1060.0


def test_another_process_takes_up_a_run_that_nothing_comes_from(stored, evaluator):
    now = [1000.0]
    stored.block({"x": [1.0]}, at=1000.0)
    judged(evaluator(STALL, clock=lambda: now[0]))
    now[0] = 1500.0
    judged(evaluator(STALL, clock=lambda: now[0]))
    assert stored.drawn() == [("stall", 1, 1, "fired", 0)]
    judged(evaluator(STALL, clock=lambda: now[0]))
    assert len(stored.transitions()) == 1


def test_a_run_that_has_ended_is_not_missed(stored, evaluator, database):
    now = [1000.0]
    watcher = evaluator(STALL, clock=lambda: now[0])
    stored.block({"x": [1.0]}, at=1000.0)
    judged(watcher)
    with database.writing() as session:
        finish_attempt(session, stored.run, 1, state="finished", at=1010.0, last_seq={}, now=1010.0)
    now[0] = 5000.0
    judged(watcher)
    assert stored.drawn() == []


def test_two_that_look_at_once_tell_it_once(stored, evaluator, channel):
    now = [1000.0]
    watchers = [evaluator(STALL, clock=lambda: now[0], settle=1e9) for _ in range(2)]
    stored.block({"x": [1.0]}, at=1000.0)
    for watcher in watchers:
        judged(watcher)
        watcher.settle()
    now[0] = 1100.0
    for watcher in watchers:
        judged(watcher)
    for watcher in watchers:
        watcher.close()
    judged(evaluator(STALL, clock=lambda: now[0]))
    assert stored.drawn() == [("stall", 1, 1, "fired", 0)]
    assert stored.deliveries() == [("stall", 1, 1, "fired")]
