"""What an alert does whose series comes no more while the run goes on: the same however blocks are cut, kept, killed and replayed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from foreshock_server.rules.lapse import lapsed
from foreshock_server.rules.load import BadRules, parse_pack
from foreshock_server.rules.state import Kind, Machine, Policy, Reason, Severity, State, advance
from foreshock_server.rules.trial.replay import replay
from foreshock_server.store.runs import finish_attempt

LOW = """
    id: low
    matches: [{statistic: x}]
    detector: {kind: threshold, below: 1}
"""
KEEP = LOW.replace("id: low", "id: keep") + "    no_data: {then: keep}\n"
RESOLVE = LOW.replace("id: low", "id: resolve") + "    no_data: {then: resolve, steps: 3}\n"
ALERT = LOW.replace("id: low", "id: alert") + "    no_data: {then: alert, steps: 3}\n"
SLOW = """
    id: slow
    matches: [{statistic: x}]
    detector: {kind: threshold, below: 1.5, median: 3}
    no_data: {then: resolve, steps: 5}
    for_steps: 2
    keep_firing_steps: 1
    cooldown_steps: 4
"""
RULES = (LOW, KEEP, RESOLVE, ALERT, SLOW)


def test_a_machine_ends_or_fires_when_nothing_comes():
    firing = Machine(State.FIRING, Severity.CRITICAL, 2, 5, 7, 9, 9, breached=4)
    ended = lapsed(firing, "resolve", 20, Policy())
    assert (ended.kind, ended.reason) == (Kind.RESOLVED, Reason.NO_DATA)
    assert ended.machine == Machine(State.OK, Severity.CRITICAL, 2, None, None, 20, 9, quiet=0)
    assert lapsed(firing, "alert", 20, Policy()).kind is None
    pending = Machine(State.PENDING, episode=1, since_step=5, last_step=9, breached=4)
    assert lapsed(pending, "resolve", 20, Policy()).kind is None
    assert lapsed(pending, "resolve", 20, Policy()).machine.state is State.OK
    fired = lapsed(pending, "alert", 20, Policy())
    assert (fired.kind, fired.machine.since_step, fired.machine.fired_step) == (Kind.FIRED, 5, 20)


def test_after_an_alert_of_silence_good_readings_resolve_it():
    machine = lapsed(Machine(last_step=3), "alert", 9, Policy()).machine
    assert machine.since_step == 9
    assert advance(machine, False, False, True, 12, Policy()).kind is Kind.RESOLVED


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("no_data: {then: forget}", "`no_data.then` is .forget., but"),
        ("no_data: {then: resolve, step: 3}", "did you mean `steps`?"),
        ("no_data: resolve", "`no_data`"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(pack_text, lines, sentence):
    with pytest.raises(BadRules, match=sentence):
        parse_pack(pack_text(LOW + lines), "mine.yaml")


def test_an_absence_rule_is_about_silence_by_itself(pack_text):
    text = "id: one\nmatches: [{statistic: x}]\ndetector: {kind: absence, steps: 3}\nno_data: {then: keep}"
    with pytest.raises(BadRules, match="leave `no_data` out"):
        parse_pack(pack_text(text), "mine.yaml")


# --- through the database


def judged(watcher):
    while watcher.run_once():
        pass
    watcher.close()


@pytest.mark.parametrize("size", [1, 4, 7, 30])
@pytest.mark.parametrize("apart", [False, True], ids=["one frame", "two frames"])
def test_a_silence_between_two_readings_is_told_in_its_place(stored, evaluator, database, size, apart):
    """Bad until step 3, silent until 12, bad until 15, good from then on."""
    x = [0.5 if step < 16 else 2.0 for step in range(30)]
    came = [step <= 3 or step >= 12 for step in range(30)]
    for first in range(0, 30, size):
        steps = range(first, min(first + size, 30))
        rows = {
            "y": [1.0] * len(steps),
            "x": [x[step] if came[step] else None for step in steps],
        }
        if apart:
            stored.block({"y": rows["y"]}, first)
            some = [step for step in steps if came[step]]
            if some:
                stored.block({"x": [x[step] for step in some]}, steps=some)
        else:
            stored.block(rows, first)
        judged(evaluator(*RULES))
    said = {
        rule: [one[2:] for one in stored.drawn() if one[0] == rule] for rule in ("keep", "resolve", "alert")
    }
    if not apart:
        assert said == {
            "keep": [(1, "fired", 0), (1, "resolved", 16)],
            "resolve": [(1, "fired", 0), (1, "resolved", 7), (2, "fired", 12), (2, "resolved", 16)],
            "alert": [(1, "fired", 0), (1, "resolved", 16)],
        }
    with database.reading() as session:
        again = [one.change for one in replay(session, stored.run, evaluator(*RULES).rules)]
    assert sorted((one.watch.rule.id, one.episode, one.kind.value, one.step) for one in again) == sorted(
        (one.rule, one.episode, one.kind, one.step) for one in stored.transitions()
    )


def test_what_was_well_fires_when_it_is_no_longer_seen_and_says_so(stored, evaluator, channel):
    stored.block({"x": [2.0] * 3 + [None] * 9, "y": [1.0] * 12})
    judged(evaluator(ALERT))
    assert stored.drawn() == [("alert", 1, 1, "fired", 6)]
    (fired,) = stored.transitions()
    assert fired.detail["message"] == "A title since step 6: 4 steps without a reading."
    assert stored.deliveries() == [("alert", 1, 1, "fired")]
    stored.block({"x": [2.0], "y": [1.0]}, 12)
    judged(evaluator(ALERT))
    assert [one.kind for one in stored.transitions()] == ["fired", "resolved"]


def test_what_ends_because_nobody_can_tell_says_so(stored, evaluator):
    stored.block({"x": [0.5] * 3 + [None] * 9, "y": [1.0] * 12})
    judged(evaluator(RESOLVE))
    _, resolved = stored.transitions()
    assert resolved.detail["reason"] == Reason.NO_DATA.value
    assert (
        resolved.detail["message"]
        == "Resolved: A title at step 6: 4 steps without a reading, so nobody can tell any more (fired at step 0)."
    )


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_an_alert_of_a_run_that_has_ended_stands_as_it_stood(stored, evaluator, database, state):
    stored.block({"x": [0.5] * 3, "y": [1.0] * 3})
    watcher = evaluator(*RULES)
    judged(watcher)
    with database.writing() as session:
        finish_attempt(session, stored.run, 1, state=state, at=3.0, last_seq={}, now=4.0)
    judged(watcher)
    assert stored.alert("resolve").state == stored.alert("keep").state == "firing"


def history(chance, length):
    attempt, step, records, silent = 1, 0, [], False
    for _ in range(length):
        if chance.random() < 0.03:
            attempt, step = attempt + 1, max(0, step - 5)
        silent = not silent if chance.random() < 0.12 else silent
        x = None if silent else chance.choice([0.4, 0.6, 2.0, 1.2, 3.0])
        records.append((attempt, step, {"x": x, "y": 1.0}))
        step += chance.choice([1, 1, 2])
    return records


def reference(rules, records):
    """One reading at a time; a silence is told with the first step that comes later, before what that brings."""
    said = []
    for rule in rules.rules:
        machine, memory = Machine(), rule.detector.initial()
        process = last = top = None
        silent = False
        for attempt, step, values in records:
            if process == attempt and top is not None and step > top and last is not None:
                steps = None if rule.no_data is None or rule.no_data.then == "keep" else rule.no_data.steps
                if steps is not None and top - last > steps and not silent:
                    silent = True
                    machine, kind, _ = lapsed(machine, rule.no_data.then, top, rule.policy)
                    if kind is not None:
                        said.append((rule.id, machine.episode, kind.value, top))
            if values["x"] is not None:
                if process != attempt:
                    process, last, top = attempt, None, None
                last = step if last is None else max(last, step)
                silent = False
                memory, reading = rule.detector.update(memory, step, values["x"])
                machine, kind, _ = advance(
                    machine, reading.breach, reading.critical, reading.clear, step, rule.policy
                )
                if kind is not None:
                    said.append((rule.id, machine.episode, kind.value, step))
            if process == attempt:
                top = step if top is None else max(top, step)
    return sorted(said)


@pytest.mark.parametrize("seed", range(6))
def test_however_it_is_cut_kept_killed_and_replayed_the_same_is_said(stored, evaluator, database, seed):
    chance = random.Random(seed)
    records = history(chance, 150)
    watchers, left = [evaluator(*RULES, settle=1e9) for _ in range(2)], records
    while left:
        some = [one for one in left[: chance.choice([1, 1, 2, 5, 12])] if one[0] == left[0][0]]
        left = left[len(some) :]
        rows = {key: [one[key] for *_, one in some] for key in ("x", "y")}
        stored.block(rows, steps=[step for _, step, _ in some], attempt=some[0][0])
        what, number = chance.random(), chance.randrange(2)
        if what < 0.6:
            watchers[number].run_once()
        elif what < 0.7:
            watchers[number] = evaluator(*RULES, settle=1e9)  # the old one was killed
    for watcher in (*watchers, evaluator(*RULES)):
        judged(watcher)
    expected = reference(watchers[0].rules, records)
    assert {one[2] for one in expected if one[0] == "alert"} == {"fired", "resolved"}
    assert sorted((one.rule, one.episode, one.kind, one.step) for one in stored.transitions()) == expected
    with database.reading() as session:
        again = [one.change for one in replay(session, stored.run, watchers[0].rules)]
    assert sorted((one.watch.rule.id, one.episode, one.kind.value, one.step) for one in again) == expected


def test_what_lies_on_the_shelf_is_judged_before_the_silence(stored, evaluator):
    """Good readings that nobody looked at yet, then silence within the same block, then more of them."""
    values = np.full(20, 2.0).tolist()
    stored.block({"x": values, "y": values})
    watcher = evaluator(ALERT, settle=1e9)
    watcher.run_once()
    stored.block({"x": [2.0, 2.0, *[None] * 8, 2.0], "y": [1.0] * 11}, 20)
    judged(watcher)
    assert stored.drawn() == [("alert", 1, 1, "fired", 25), ("alert", 1, 1, "resolved", 30)]
