"""Rules about several series, and about other rules: from stored blocks to what people are told."""

from __future__ import annotations

import pytest
from tests.server.rules.conftest import rule_set

from foreshock_server.models import Attempt, Writer
from foreshock_server.rules import joint
from foreshock_server.rules.columns import Subject
from foreshock_server.rules.state import Kind
from foreshock_server.rules.trial.replay import replay
from foreshock_server.sealing.ready import Ready
from foreshock_server.sealing.sealer import Sealer

OVER = """
    id: over
    matches: [{statistic: x}]
    derive: {kind: ratio, other: {statistic: y}, max_age_steps: 20}
    detector: {kind: threshold, above: 2}
"""
MANY = """
    id: many
    matches: [{statistic: rank}]
    derive: {kind: across, share_below: 1.0}
    detector: {kind: threshold, above: 0.5}
"""


def judged(watcher):
    while watcher.run_once():
        pass


def test_the_two_may_lie_in_frames_of_their_own_and_come_at_other_steps(stored, evaluator):
    watcher = evaluator(OVER)
    for step in range(0, 60, 10):
        stored.block({"x": [3.0 + step / 10] * 10}, first=step)
        stored.block({"y": [2.0]}, first=step + 9)
    judged(watcher)
    assert stored.drawn() == [("over", 1, 1, "fired", 29)]  # 5 over 2
    assert stored.alert("over").reading["level"] == 4.0  # 8 over 2
    assert stored.alert("over").reading["derived"] == "ratio"
    assert stored.alert("over").reading["unit"] == ""


def test_a_series_that_is_known_later_than_its_partner_is_compared_from_its_first_reading_on(
    stored, evaluator
):
    watcher = evaluator(OVER)
    stored.block({"y": [1.0] * 3})
    judged(watcher)
    stored.block({"x": [3.0]}, first=3)
    judged(watcher)
    stored.block({"y": [1.0]}, first=4)
    judged(watcher)
    assert stored.drawn() == [("over", 2, 1, "fired", 4)]


@pytest.mark.parametrize(
    ("x", "y", "together"),
    [
        ("", "", True),
        ("a", "a", True),
        ("a", "", True),
        ("", "a", True),
        ("a", "b", False),
    ],
)
def test_series_of_one_place_are_compared(x, y, together):
    def at(place, rank=None):
        labels = {**({"place": place} if place else {}), **({"rank": rank} if rank else {})}
        return Subject(1, "", "x" if place == x else "y", "training", place, "", labels)

    rule = rule_set(OVER).get("over")
    one, two = at(x), at(y)._replace(series_id=2, statistic="y")
    assert rule.compares(one, two) == together
    assert not rule.compares(one, two._replace(labels={**two.labels, "rank": "all"}))
    assert not rule.compares(one, one)


def test_what_two_processes_read_is_not_compared(stored, evaluator):
    watcher = evaluator(OVER)
    for step in range(5):
        stored.block({"x": [9.0]}, first=step)
        stored.block({"y": [1.0]}, first=step, writer="w2")
    judged(watcher)
    assert stored.drawn() == []


def test_all_places_are_one_alert_that_names_the_worst(stored, evaluator):
    watcher = evaluator(MANY)
    places = "abcdefgh"
    for step in range(4):
        fallen = 2 * step
        values = {f"rank@{one}": [0.1 * at if at < fallen else 5.0] for at, one in enumerate(places)}
        stored.block({"loss": [1.0], **values}, first=step)
    judged(watcher)
    assert stored.drawn() == [("many", 2, 1, "fired", 3)]
    [told] = stored.transitions()
    assert told.detail["message"] == "A title (6 of 8 places: a, b, c) since step 3: 0.75, beyond 0.5."


def test_of_a_vector_its_mean_is_one_number_of_it(stored, evaluator):
    rule = rule_set(MANY).get("many")
    assert rule.reduction == "mean"
    assert rule_set(MANY + "    reduce: p90\n").get("many").reduction == "p90"


BEHIND = """
    id: behind
    matches: [{statistic: "x*"}]
    derive: {kind: reference, run: NAME, max_age_steps: 5}
    detector: {kind: threshold, below: 0.8}
"""


@pytest.mark.parametrize("sealed", [False, True])
def test_a_run_is_compared_with_another_at_the_same_step(stored, new_run, evaluator, database, sealed):
    best = new_run("best")
    best.block({"other": [1.0]})
    best.block({"x": [1.0 + step / 10 for step in range(20)]})
    best.block({"x": [2.0] * 5}, first=10, attempt=2)  # what was read anew counts
    with database.writing() as session:
        session.merge(
            Attempt(run_id=best.run, attempt=2, state="running", info={}, first_step=10, started_at=0.0)
        )
    if sealed:
        seal(database, best)
    stored.block({"x": [0.9 + step / 10 for step in range(12)] + [1.0] * 15})
    rules = BEHIND.replace("NAME", "best")
    judged(evaluator(rules))
    # 2.0 from step 10 on, and nothing 5 steps after the last reading at 14
    assert [one for one in stored.drawn() if one[0] == "behind"] == [("behind", 1, 1, "fired", 12)]
    assert stored.transitions()[0].detail["message"] == (
        "A title (x) (best had 2) since step 12: 0.5, beyond 0.8."
    )
    assert stored.alert("behind").last_step == 19
    with database.reading() as session:
        again = [(one.rule, one.change.step) for one in replay(session, stored.run, rule_set(rules))]
    assert again == [("behind", 12)]


def seal(database, run):
    with database.writing() as session:
        for one in session.query(Writer).filter_by(run_id=run.run):
            one.tallied_seq = one.evaluated_seq = one.acked_seq
    with database.reading() as session:
        ready = [
            Ready(one.run_id, one.attempt, one.writer, one.sealed_seq, one.acked_seq)
            for one in session.query(Writer).filter_by(run_id=run.run)
        ]
    for one in ready:
        Sealer(database).seal(one)


def test_a_run_that_is_not_there_is_said_once_and_nothing_comes_of_it(stored, new_run, evaluator, caplog):
    new_run("elsewhere", project="q").block({"x": [9.0] * 5})
    watcher = evaluator(BEHIND.replace("NAME", "elsewhere"))
    for step in range(5):
        stored.block({"x": [0.1]}, first=step)
        judged(watcher)
    assert stored.drawn() == []
    assert [one.getMessage().split(":")[0] for one in caplog.records] == [
        "Run run-1 is compared with 'elsewhere', and its series x cannot be"
    ]


LOW = """
    id: low
    title: X is low
    matches: [{statistic: x}]
    detector: {kind: threshold, below: 1}
"""
HIGH = """
    id: high
    title: Y is high
    family: attention
    matches: [{statistic: "y*"}]
    detector: {kind: threshold, above: 2}
"""
THEN = """
    id: then
    title: First low, then high
    joint: {sequence: [{rule: low}, {family: attention}], within_steps: 5}
"""


def test_a_joint_rule_tells_which_rules_fired_when(stored, evaluator, channel):
    watcher = evaluator(LOW, HIGH, THEN)
    stored.block({"y": [1.0] * 4, "x": [3.0, 0.5, 0.5, 0.5]})
    stored.block({"y": [3.0, 3.0, 1.0], "x": [0.5, 3.0, 3.0]}, first=4)
    judged(watcher)
    then = [one for one in stored.transitions() if one.rule == "then"]
    assert [(one.series_id, one.kind, one.step) for one in then] == [(2, "fired", 4)]
    assert then[0].detail["message"] == (
        "First low, then high since step 4: X is low at step 1, then Y is high at step 4."
    )
    stored.block({"y": [1.0] * 9, "x": [3.0] * 9}, first=7)
    judged(watcher)
    then = [one for one in stored.transitions() if one.rule == "then"]
    assert [(one.kind, one.step) for one in then] == [("fired", 4), ("resolved", 10)]
    assert then[1].detail["message"] == (
        "Resolved: First low, then high at step 10: 0 of its 2 conditions hold (fired at step 4)."
    )


def test_a_joint_rule_counts_only_what_is_in_force(stored, evaluator):
    """A rule that went out of force while it fired says nothing more, and does not hold for ever."""
    both = "id: both\njoint: {all: [{rule: low}, {rule: high}]}"
    stored.block({"x": [0.5], "y": [3.0]})
    judged(evaluator(LOW, HIGH, both))
    assert stored.alert("both").state == "firing"
    stored.block({"x": [0.5], "y": [3.0]}, first=1)
    judged(evaluator(LOW, both))
    assert stored.alert("both").state == "ok"


def test_several_places_of_a_rule_are_one_part(stored, evaluator):
    two = "id: two\njoint: {any: [{rule: low}, {rule: high}]}\ndetector: {kind: threshold, above: 1.5}"
    stored.block({"y1": [3.0, 3.0, 1.0, 1.0], "y2": [1.0, 3.0, 3.0, 1.0], "x": [3.0, 3.0, 0.5, 0.5]})
    judged(evaluator(LOW, HIGH, two))
    said = [(one.kind, one.step) for one in stored.transitions() if one.rule == "two"]
    assert said == [("fired", 2), ("resolved", 3)]


def test_rows_behind_the_furthest_step_age_nothing(stored, evaluator):
    """Two frames whose rows come by turns, one of them some steps late."""
    one = "id: one\njoint: {any: [{rule: low}]}\nfor_steps: 3"
    watcher = evaluator(LOW, one)
    for step in range(10, 20):
        stored.block({"x": [0.5]}, first=step)
        stored.block({"x": [0.5], "z": [1.0]}, first=step - 5)
    judged(watcher)
    assert [(each.kind, each.step) for each in stored.transitions() if each.rule == "one"] == [("fired", 13)]


PARTS = [{"a"}, {"b"}]


def told(*events, way="sequence", within=5):
    """(step, rule, kind or None for nothing) -> the score after each."""
    of = joint.Joint.model_validate({way: [{"rule": "a"}, {"rule": "b"}], "within_steps": within})
    memory, scores = joint.JointMemory(), []
    for step, rule, kind in events:
        memory = joint.reached(memory, 1, step)
        if kind is not None:
            memory = joint.heard(memory, rule, 1, kind, step)
        memory = joint.counting(memory, of.within_steps)
        memory = joint.load(joint.dump(memory))
        scores.append(joint.score(of, PARTS, memory))
    return scores


F, R = Kind.FIRED, Kind.RESOLVED


@pytest.mark.parametrize(
    ("events", "scores"),
    [
        ([(0, "a", F), (3, "b", F)], [1, 2]),
        ([(0, "b", F), (3, "a", F)], [0, 1]),  # the other way round
        ([(0, "b", F), (3, "a", F), (4, "b", R), (6, "b", F)], [0, 1, 1, 2]),  # the second fires anew
        ([(3, "a", F), (3, "b", F)], [1, 2]),  # at once
        ([(0, "a", F), (1, "a", R), (5, "b", F), (6, "", None)], [1, 1, 2, 0]),  # the first is over
        ([(0, "a", F), (1, "a", R), (3, "a", F), (4, "b", F), (9, "", None)], [1, 1, 1, 2, 2]),
        (
            [(0, "a", F), (2, "b", F), (3, "a", R), (4, "a", F)],
            [1, 2, 2, 2],
        ),  # that the first fires again is no new order
        ([(0, "a", F), (2, "b", F), (3, "b", R), (7, "", None), (8, "", None)], [1, 2, 2, 2, 1]),
    ],
)
def test_a_sequence_comes_in_order(events, scores):
    assert told(*events) == scores


def test_without_within_steps_a_part_holds_while_its_rule_fires():
    assert told((0, "a", F), (2, "a", R), (2, "b", F), way="all", within=0) == [1, 0, 1]


def test_a_rule_that_resolves_unheard_of_changes_nothing():
    assert told((0, "a", R), (1, "b", F), way="any") == [0, 1]
