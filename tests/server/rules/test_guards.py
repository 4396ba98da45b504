"""What a reading rests on: when readings do not count, the same however blocks are cut, kept, killed and replayed."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from foreshock_server.query.alerts import alerts
from foreshock_server.rules import guards
from foreshock_server.rules.columns import Subject
from foreshock_server.rules.guards import Gauge, Need
from foreshock_server.rules.load import BadRules, parse_pack
from foreshock_server.rules.state import Machine, advance
from foreshock_server.rules.trial.replay import replay
from foreshock_server.rules.watch import Watch

LOW = """
    id: low
    matches: [{statistic: x}]
    detector: {kind: threshold, below: 1}
    needs: [{statistic: n, at_least: 8}]
"""
RULES = (
    LOW,
    """
    id: usual
    matches: [{statistic: x}]
    detector: {kind: threshold, below: 0.7, median: 3, relative_to_baseline: true, baseline_records: 4}
    needs: [{statistic: n, share: 0.5, records: 5}, {statistic: bad, at_most: 0.5}]
    keep_firing_steps: 2
    """,
    """
    id: any
    matches: [{statistic: x}]
    detector: {kind: threshold, below: 1}
    """,
)


def gauged(need, readings):
    """`.` counts, `h` is held back, of (step, companion) and a reading at the same step."""
    gauge, said = Gauge(), ""
    for step, value in readings:
        gauge = need.after(gauge, step, value)
        (gauge,) = guards.load([need], json.loads(json.dumps(guards.dump([need], [gauge]))))
        said += "h" if gauge.holds(step) else "."
    return said


@pytest.mark.parametrize(
    ("need", "values", "expected"),
    [
        ({"at_least": 8}, [9, 8, 7, math.nan, math.inf, 9], "..hhh."),
        ({"at_most": 0.1}, [0, 0.1, 0.2, 0], "..h."),
        ({"at_least": 1, "at_most": 2}, [0, 1, 2, 3], "h..h"),
        (
            {"share": 0.5, "records": 3},
            [1, 10, 10, 10, 5, 4.9, 10],
            ".....h.",
        ),  # nothing is usual before three
        ({"share": 0.5, "records": 2, "at_least": 4}, [2, 10, 2, 10, 4.5, 6], "h.h.h."),
    ],
)
def test_a_reading_counts_while_its_companion_will_do(need, values, expected):
    assert gauged(Need(statistic="n", **need), list(enumerate(values))) == expected


def test_what_is_usual_never_adapts():
    need = Need(statistic="n", share=0.5, records=2)
    assert gauged(need, enumerate([100.0] * 2 + [40.0] * 200)) == ".." + "h" * 200


def test_steps_decide_where_a_statistic_is_finished_later_than_its_companion():
    need, gauge = Need(statistic="n", at_least=8), Gauge()
    for step, value in ((0, 9.0), (10, 3.0), (20, 3.0), (30, 9.0)):
        gauge = need.after(gauge, step, value)
    assert [step for step in (0, 9, 10, 20, 29, 30) if gauge.holds(step)] == [10, 20, 29]
    again = need.after(gauge, 15, 9.0)  # a resume took the step back, and this time it will do
    assert [step for step in (10, 14, 15, 20, 30) if again.holds(step)] == [10, 14]


def test_a_companion_is_of_the_same_place_and_rank_and_says_no_more_than_its_series():
    series = Subject(
        1, "", "effective_rank", "", "layers.3", "", {"place": "layers.3", "centered": "true", "rank": "all"}
    )
    need = Need(statistic="n_eff", at_least=8)
    for labels, place, fits in (
        ({"place": "layers.3", "rank": "all"}, "layers.3", True),
        ({"place": "layers.3"}, "layers.3", False),
        ({"place": "layers.4", "rank": "all"}, "layers.4", False),
        ({"place": "layers.3", "rank": "all", "view": "a"}, "layers.3", False),
    ):
        assert need.fits(Subject(2, "", "n_eff", "", place, "", labels), series) is fits
    assert not need.fits(series, series)


@pytest.mark.parametrize(
    ("needs", "sentence"),
    [
        ("[{statistic: n}]", "say what it must be: `at_least: NUMBER`"),
        ("[{statistic: n, at_least: 2, at_most: 1}]", "`at_least: 2` must not exceed `at_most: 1`"),
        ("[{statistic: n, atleast: 2}]", "did you mean `at_least`?"),
        ("[{at_least: 2}]", r"`needs\[0\].statistic` is missing"),
        ("[{statistic: n, share: 2}]", "`needs\\[0\\].share` is 2"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(pack_text, needs, sentence):
    lines = f"id: one\nmatches: [{{statistic: x}}]\ndetector: {{kind: threshold, below: 1}}\nneeds: {needs}"
    with pytest.raises(BadRules, match=sentence):
        parse_pack(pack_text(lines), "mine.yaml")


def test_where_every_reading_is_news_nothing_is_asked_for(pack_text):
    lines = "id: one\nmatches: [{}]\ndetector: {kind: non-finite}\nneeds: [{statistic: n, at_least: 1}]"
    with pytest.raises(BadRules, match="every reading is news"):
        parse_pack(pack_text(lines), "mine.yaml")


# --- through the database


def history(chance, length):
    """(attempt, step, x, n, bad): companions that come and go, fall short and recover; a resume takes the step back."""
    attempt, step, records, short = 1, 0, [], False
    for _ in range(length):
        if chance.random() < 0.04:
            attempt, step = attempt + 1, max(0, step - 6)
        short = not short if chance.random() < 0.15 else short
        rows = chance.choice([2.0, math.nan, 7.0]) if short else chance.uniform(8, 30)
        values = {
            "x": chance.choice([0.3, 0.5, 2.0, 2.2, 1.8, 2.1]),
            "n": rows,
            "bad": float(chance.random() < 0.1),
        }
        for key in values:
            values[key] = None if chance.random() < 0.15 else values[key]
        records.append((attempt, step, values))
        step += chance.choice([1, 1, 2])
    return records


def one_at_a_time(rules, readings):
    """Transitions when each reading comes alone: (step, key, value) in the order of recording."""
    said = []
    for rule in rules.rules:
        machine, memory = Machine(), rule.detector.initial()
        usual, short = {}, {need.statistic: [] for need in rule.needs}
        for step, key, value in readings:
            for need in rule.needs:
                if need.statistic != key:
                    continue
                low = -math.inf if need.at_least is None else need.at_least
                high = math.inf if need.at_most is None else need.at_most
                well = low <= value <= high
                if well and need.share is not None:
                    first = usual.setdefault(key, [])
                    if len(first) < need.records:
                        first.append(value)
                    if len(first) == need.records:
                        well = value >= need.share * float(np.median(first))
                times = short[key]
                if not well and (not times or times[-1][1] is not None):
                    times.append([step, None])
                elif not well:
                    times[-1][0] = min(times[-1][0], step)
                elif times and (times[-1][1] is None or times[-1][0] <= step < times[-1][1]):
                    times[-1][1] = step
            if key != "x":
                continue
            latest = [times[-1] for times in short.values() if times]
            if any(since <= step and (until is None or step < until) for since, until in latest):
                continue
            memory, reading = rule.detector.update(memory, step, value)
            machine, kind, _ = advance(
                machine, reading.breach, reading.critical, reading.clear, step, rule.policy
            )
            if kind is not None:
                said.append((rule.id, machine.episode, kind.value, step))
    return sorted(said)


def in_order(records, together):
    """Readings as they are recorded: of one frame a row after another, companions first within it; of two, frame after frame."""
    found = []
    for some in [[one] for one in records] if together else [records]:
        for keys in (("n", "bad"), ("x",)):
            for _, step, values in some:
                found += [(step, key, values[key]) for key in keys if values[key] is not None]
    return found


def drawn(transitions):
    return sorted((one.rule, one.episode, one.kind, one.step) for one in transitions)


@pytest.mark.parametrize("together", [True, False], ids=["one frame", "two frames"])
@pytest.mark.parametrize("seed", range(5))
def test_however_it_is_cut_kept_killed_and_replayed_the_same_readings_count(
    stored, evaluator, database, seed, together
):
    chance = random.Random(seed)
    left = history(chance, 140)
    watchers, order = [evaluator(*RULES, settle=1e9) for _ in range(2)], [(0, "x", 2.0)]
    stored.block({"x": [2.0]}, steps=[0])
    while left:
        size = chance.choice([1, 1, 2, 5, 12])
        some = [one for one in left[:size] if one[0] == left[0][0]]
        left = left[len(some) :]
        order += in_order(some, together)
        steps, attempt = [step for _, step, _ in some], some[0][0]
        for keys in (("n", "x", "bad"),) if together else (("n", "bad"), ("x",)):
            stored.block({key: [one[key] for *_, one in some] for key in keys}, steps=steps, attempt=attempt)
        what, number = chance.random(), chance.randrange(2)
        if what < 0.6:
            watchers[number].run_once()
        elif what < 0.7:
            watchers[number] = evaluator(*RULES, settle=1e9)  # the old one was killed
        elif what < 0.75:
            watchers[number].close()
    for watcher in (*watchers, evaluator(*RULES)):
        while watcher.run_once():
            pass
        watcher.close()
    expected = one_at_a_time(watchers[0].rules, order)
    said = {rule: [one[1:] for one in expected if one[0] == rule] for rule in ("low", "usual", "any")}
    assert said["usual"] != []
    assert [] != said["low"] != said["any"]
    assert drawn(stored.transitions()) == expected
    with database.reading() as session:
        again = [
            (one.rule, one.change.episode, one.change.kind.value, one.change.step)
            for one in replay(session, stored.run, watchers[0].rules)
        ]
    assert sorted(again) == expected


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_first_reading_is_held_back_by_a_companion_beside_it(stored, evaluator, size):
    """And what the companion read before the series came says nothing."""
    values = {"n": [9.0, 2.0, 2.0, 9.0], "x": [None, None, 0.1, 0.1]}
    for first in range(0, 4, size):
        stored.block({key: one[first : first + size] for key, one in values.items()}, first)
    watcher = evaluator(LOW)
    while watcher.run_once():
        pass
    assert stored.drawn() == [("low", 2, 1, "fired", 3)]


def test_an_alert_that_is_undecided_says_why(stored, evaluator, database):
    watcher = evaluator(LOW)
    for first, x, n in ((0, 0.5, 9.0), (1, 3.0, 2.0), (2, 3.0, 9.0)):
        stored.block({"x": [x], "n": [n]}, first)
        watcher.run_once()
        with database.reading() as session:
            (alert,) = alerts(session, stored.run, watcher.rules)["alerts"]
        assert (alert["state"], alert["undecided"]) == [
            ("firing", None),
            ("firing", "n reads 2, less than 8"),
            ("ok", None),
        ][first]
        assert alert["message"].endswith("Not decided now: n reads 2, less than 8.") is (first == 1)


def test_rows_whose_companions_do_well_are_looked_at_together(stored, evaluator, monkeypatch):
    asked = []
    gauge = Watch.gauge
    monkeypatch.setattr(Watch, "gauge", lambda self, *given: asked.append(self) or gauge(self, *given))
    watcher = evaluator(*RULES, settle=1e9)
    for step in range(40):
        stored.block({"x": [2.0], "n": [20.0], "bad": [0.0]}, steps=[step])
        watcher.run_once()
    usual = len(asked)
    stored.block({"x": [2.0], "n": [2.0], "bad": [0.0]}, steps=[40])
    watcher.run_once()
    assert 0 < usual < 40
    assert len(asked) > usual
