"""Blocks become alerts, transitions and messages exactly once, whatever dies or races in between."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from foreshock_server.models import Alert, Block, Transition
from foreshock_server.rules import evaluator as module
from foreshock_server.rules import judge, storing
from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings
from foreshock_server.store import outbox

LOW = """
    id: low
    matches: [{statistic: "x*"}]
    detector: {kind: threshold, below: 1, clear: 2}
"""
NAN = """
    id: nan
    family: numerics
    matches: [{}]
    detector: {kind: non-finite, clear_after: 3}
"""
nan = math.nan


def run_all(evaluator):
    """Until nothing is left; how many blocks."""
    total = 0
    while done := evaluator.run_once():
        total += done
    return total


def everything(session, run):
    """All that evaluation wrote for a run, without the times of writing."""
    alerts = session.scalars(select(Alert).where(Alert.run_id == run))
    transitions = session.scalars(select(Transition).where(Transition.run_id == run))

    def plain(row):
        values = {column.key: getattr(row, column.key) for column in row.__table__.columns}
        return {key: value for key, value in values.items() if key not in {"run_id", "created_at"}}

    def sort(rows):
        return sorted((plain(row) for row in rows), key=lambda row: json.dumps(row, sort_keys=True))

    return sort(alerts), sort(transitions)


def test_a_breach_becomes_an_alert_a_transition_and_a_message_and_its_end_too(stored, evaluator, channel):
    stored.block({"x": [3, 3, 0.5, 0.4]}, first=10)
    watcher = evaluator(LOW)
    assert watcher.run_once() == 1
    alert = stored.alert("low")
    assert (alert.state, alert.severity, alert.episode) == ("firing", "warning", 1)
    assert (alert.since_step, alert.fired_step, alert.last_step) == (12, 12, 13)
    assert alert.reading["value"] == 0.4
    assert alert.reading["threshold"] == 1.0
    assert alert.reading["message"] == "A title (x) since step 12: 0.4 nat, beyond 1."
    (fired,) = stored.transitions()
    assert (fired.kind, fired.step, fired.since_step, fired.severity) == ("fired", 12, 12, "warning")
    assert (fired.at, fired.created_at) == (1e9 + 12, 500.0)
    assert fired.detail["value"] == 0.5
    assert fired.detail["reason"] == "the breach has lasted for_steps"
    assert stored.deliveries() == [("low", 1, 1, "fired")]

    stored.block({"x": [1.5, 3]}, first=14)
    assert watcher.run_once() == 1
    assert stored.drawn() == [("low", 1, 1, "fired", 12), ("low", 1, 1, "resolved", 15)]
    assert stored.deliveries() == [("low", 1, 1, "fired"), ("low", 1, 1, "resolved")]
    ended = stored.transitions()[1]
    assert ended.since_step == 12
    assert ended.detail["message"] == "Resolved: A title (x) at step 15: 3 nat (fired at step 12)."
    assert (stored.alert("low").state, stored.alert("low").since_step) == ("ok", None)


def test_the_cursor_moves_to_what_was_acknowledged_and_then_there_is_nothing_to_do(stored, evaluator):
    stored.block({"x": [3]})
    stored.block({"x": [3]}, first=1)
    watcher = evaluator(LOW)
    assert watcher.run_once() == 2
    assert stored.evaluated() == {(1, "w"): 2}
    assert watcher.run_once() == 0


def test_blocks_that_are_lost_for_good_do_not_hold_up_the_rest(stored, evaluator):
    stored.block({"x": [0.5]}, skip=3)
    assert run_all(evaluator(LOW)) == 1
    assert stored.evaluated() == {(1, "w"): 4}
    assert stored.alert("low").state == "firing"


def test_more_blocks_than_fit_one_transaction_take_several(stored, evaluator, monkeypatch):
    monkeypatch.setattr(judge, "BLOCKS_AT_ONCE", 3)
    for number in range(8):
        stored.block({"x": [0.5 if number in (2, 3) else 3]}, first=number)
    watcher = evaluator(LOW)
    assert [watcher.run_once() for _ in range(4)] == [3, 3, 2, 0]
    assert stored.drawn() == [("low", 1, 1, "fired", 2), ("low", 1, 1, "resolved", 4)]


def test_forgetting_a_run_costs_time_and_nothing_else(stored, evaluator, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", -1.0)
    watcher = evaluator(LOW)
    for first in (0, 10):
        stored.block({"x@a": [3.0], "x@b": [3.0], "x@c": [0.5]}, first=first)
        stored.block({"x@d": [0.5]}, first=first + 1)
        stored.block({"other": [0.5]}, first=first + 2)
        run_all(watcher)
        assert watcher._memories == {}
    assert stored.drawn() == [("low", 3, 1, "fired", 0), ("low", 4, 1, "fired", 1)]


def test_a_revision_is_a_change_that_a_viewer_could_see_and_no_other(stored, evaluator, bus):
    heard = []
    bus.subscribe(heard.append)
    watcher = evaluator(LOW)
    before = stored.revision
    stored.block({"x": [3, 3]})
    run_all(watcher)
    assert (stored.revision, heard) == (before, [])
    stored.block({"x": [0.5, 0.5]}, first=2)
    run_all(watcher)
    assert (stored.revision, heard) == (before + 1, ["run-1"])
    stored.block({"x": [0.5]}, first=4)
    run_all(watcher)
    assert (stored.revision, heard) == (before + 1, ["run-1"])


def test_absent_readings_are_not_judged_and_nan_ones_are(stored, evaluator):
    stored.block({"x": [3, None, None, 3], "y": [1, 1, nan, 1]})
    run_all(evaluator(LOW, NAN))
    assert stored.drawn() == [("nan", 2, 1, "fired", 2)]
    assert stored.alert("low").memory["machine"]["samples"] == 2


def test_a_rule_that_only_waits_for_news_leaves_no_row_until_there_is_some(stored, evaluator, database):
    watcher = evaluator(NAN)
    stored.block({f"y{i}": [1.0] * 5 for i in range(50)})
    run_all(watcher)
    with database.reading() as session:
        assert session.scalars(select(Alert)).all() == []
    stored.block({f"y{i}": [nan if i == 7 else 1.0] * 5 for i in range(50)}, first=5)
    run_all(watcher)
    assert stored.drawn() == [("nan", 8, 1, "fired", 5)]
    stored.block({f"y{i}": [1.0] * 5 for i in range(50)}, first=10)
    run_all(watcher)
    assert stored.drawn() == [("nan", 8, 1, "fired", 5), ("nan", 8, 1, "resolved", 12)]


def test_the_json_columns_hold_no_bare_nan(stored, evaluator, database):
    stored.block({"x": [3, nan, math.inf, -math.inf]})
    run_all(evaluator(LOW, NAN))
    with database.reading() as session:
        rows = [*session.scalars(select(Alert)), *session.scalars(select(Transition))]
        assert len(rows) == 3
        for row in rows:
            if isinstance(row, Alert):
                json.dumps([row.memory, row.reading], allow_nan=False)
            else:
                json.dumps(row.detail, allow_nan=False)
                assert row.detail["value"] == "NaN"


def test_a_series_goes_on_in_the_next_attempt(stored, evaluator, channel):
    waits = LOW + "    for_steps: 4"
    watcher = evaluator(waits)
    stored.block({"x": [3, 0.5, 0.5, 0.5]}, first=97)  # pending at 98, 99, 100
    run_all(watcher)
    assert stored.alert("low").state == "pending"
    stored.block({"x": [0.5, 0.5, 0.5]}, first=90, attempt=2)  # back to the checkpoint
    run_all(watcher)
    assert stored.drawn() == [("low", 1, 1, "fired", 92)]
    assert (stored.alert("low").since_step, stored.alert("low").attempt) == (98, 2)
    stored.block({"x": [0.5, 3]}, first=80, attempt=3)
    run_all(watcher)
    assert stored.drawn()[1:] == [("low", 1, 1, "resolved", 81)]
    assert stored.deliveries() == [("low", 1, 1, "fired"), ("low", 1, 1, "resolved")]


def test_it_does_not_matter_how_the_readings_were_cut_into_blocks(new_run, database, evaluator):
    chance = random.Random(5)
    values = [chance.choice([3, 3, 1.5, 0.5, 0.5, nan]) for _ in range(150)]
    rules = (LOW + "    for_steps: 2\n    keep_firing_steps: 3", NAN)
    outcomes = []
    for name, sizes in (("whole", [150]), ("single", [1] * 150), ("mixed", [7, 40, 1, 2, 30, 70])):
        run = new_run(name)
        watcher, start = evaluator(*rules), 0
        for size in sizes:
            run.block({"x": values[start : start + size]}, first=start)
            start += size
            if chance.random() < 0.5:
                run_all(watcher)
        run_all(watcher)
        with database.reading() as session:
            outcomes.append(everything(session, name))
    assert len(outcomes[0][1]) > 15
    assert outcomes[0] == outcomes[1] == outcomes[2]


# --- faults

RULES = (LOW, NAN)
STORY = [3, 0.5, 0.4, 3, nan, 3, 0.2, 3, 3, 3, 0.1]  # two episodes that end, one that lasts, and a NaN


def tell(run):
    """The story in four blocks."""
    for start in range(0, len(STORY), 3):
        part = STORY[start : start + 3]
        run.block({"x": part, "y": [1.0] * len(part)}, first=start)


@pytest.fixture
def expected(new_run, evaluator, database, channel):
    """What the story comes to when nothing goes wrong: alerts and transitions, messages."""
    calm = new_run("calm")
    tell(calm)
    run_all(evaluator(*RULES))
    with database.reading() as session:
        written = everything(session, "calm")
    assert len(written[1]) == 7
    assert len(calm.deliveries()) == 7
    return written, calm.deliveries()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("lock_run", 1),
        ("_store_alerts", 1),
        ("insert_once", 1),
        ("insert_once", 7),
        ("put", 1),
        ("put", 7),
        ("touch", 1),
    ],
)
def test_a_fault_in_the_middle_leaves_nothing_behind_and_the_next_try_does_it_all(
    new_run, evaluator, database, expected, monkeypatch, name, call
):
    shaken = new_run("shaken")
    tell(shaken)
    place = outbox if name == "put" else storing
    now, calls, original = [0.0], [0], getattr(place, name)

    def fails_once(*args, **more):
        calls[0] += 1
        if calls[0] == call:
            raise RuntimeError("pulled the plug")
        return original(*args, **more)

    monkeypatch.setattr(place, name, fails_once)
    watcher = evaluator(*RULES, clock=lambda: now[0])
    assert watcher.run_once() == 0
    assert calls[0] == call
    with database.reading() as session:
        assert everything(session, "shaken") == ([], [])
    assert shaken.deliveries() == []
    assert shaken.evaluated() == {(1, "w"): 0}
    now[0] += module.ASIDE_SECONDS
    assert run_all(watcher) == 4
    with database.reading() as session:
        assert (everything(session, "shaken"), shaken.deliveries()) == expected


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from foreshock_server.bus import LocalBus
    from foreshock_server.db import Database
    from foreshock_server.rules import evaluator, storing
    from foreshock_server.rules.load import RuleSet
    from foreshock_server.settings import Settings
    from foreshock_server.store import outbox

    url, folder, name = sys.argv[1:]
    def dies(*args, **more):
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(outbox if name == "put" else storing, name, dies)
    settings = Settings(database_url=url, rules_dir=Path(folder))
    evaluator.Evaluator(Database(url), RuleSet.load(settings), LocalBus(), settings).run_once()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["insert_once", "put", "touch"])
def test_killed_in_the_middle_of_storing_it_begins_again_where_it_stood(
    new_run, evaluator, database, database_url, expected, tmp_path, pack_text, name
):
    shaken = new_run("shaken")
    tell(shaken)
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "test.yaml").write_text(pack_text(*RULES))
    script = [sys.executable, "-c", textwrap.dedent(KILLED), database_url, str(folder), name]
    died = subprocess.run(script, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert shaken.evaluated() == {(1, "w"): 0}
    assert run_all(evaluator(*RULES)) == 4
    with database.reading() as session:
        assert (everything(session, "shaken"), shaken.deliveries()) == expected


def test_of_two_evaluators_with_the_same_blocks_one_stores(
    new_run, evaluator, database, expected, monkeypatch
):
    raced = new_run("raced")
    tell(raced)
    slow, fast = evaluator(*RULES), evaluator(*RULES)
    judged = slow._judge

    def overtaken(session, memory, reach):
        blocks = judged(session, memory, reach)
        assert fast.run_once() == 4
        return blocks

    monkeypatch.setattr(slow, "_judge", overtaken)
    assert slow.run_once() == 0
    with database.reading() as session:
        assert (everything(session, "raced"), raced.deliveries()) == expected


def test_evaluators_on_threads_agree(new_run, evaluator, database, expected):
    runs = [new_run(f"run-{number}") for number in range(6)]
    watchers = [evaluator(*RULES) for _ in range(3)]
    told = threading.Event()
    done = [0, 0, 0]

    def work(number):
        while True:
            finished = told.is_set()
            done[number] += (blocks := run_all(watchers[number]))
            if finished and not blocks:
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for run in runs:
        tell(run)
    told.set()
    for thread in threads:
        thread.join(60)
    run_all(
        watchers[0]
    )  # the last to lose a race may have left when the winner's work was not yet to be seen
    assert sum(done) <= 24
    for run in runs:
        with database.reading() as session:
            found_alerts, found_transitions = everything(session, run.run)
        assert found_transitions == expected[0][1]
        assert found_alerts == expected[0][0]
        assert run.deliveries() == expected[1]


def test_a_run_that_cannot_be_evaluated_stalls_no_other_and_is_tried_again(
    new_run, evaluator, database, caplog
):
    broken, sound = new_run("broken"), new_run("sound")
    broken.block({"x": [0.5]})
    sound.block({"x": [0.5]})
    with database.writing() as session:
        rows = session.get_one(Block, ("broken", 1, "w", 1)).rows
        session.get_one(Block, ("broken", 1, "w", 1)).rows = b"not msgpack"
    now = [0.0]
    watcher = evaluator(LOW, clock=lambda: now[0])
    with caplog.at_level(logging.ERROR):
        assert watcher.run_once() == 1
        assert watcher.run_once() == 0
    assert [record.message[:10] for record in caplog.records] == ["Run broken"]
    assert sound.alert("low").state == "firing"
    with database.writing() as session:
        session.get_one(Block, ("broken", 1, "w", 1)).rows = rows
    assert watcher.run_once() == 0
    now[0] = module.ASIDE_SECONDS
    assert watcher.run_once() == 1
    assert broken.alert("low").state == "firing"


def test_a_database_that_is_away_is_the_business_of_the_loop(stored, evaluator, monkeypatch):
    stored.block({"x": [0.5]})
    watcher = evaluator(LOW)

    def away(session, memory, reach):
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(watcher, "_judge", away)
        with pytest.raises(OperationalError):
            watcher.run_once()
    assert watcher.run_once() == 1  # and it is not put aside for it


# --- what is said


def test_many_places_are_one_message_and_its_leader_is_remembered(stored, evaluator, channel):
    watcher = evaluator(LOW)
    places = [f"x@layer.{number}" for number in range(5)]
    stored.block({place: [3.0, 3.0] for place in places})
    run_all(watcher)
    stored.block({place: [3, 0.5 if i < 3 else 3] for i, place in enumerate(places)}, first=2)
    run_all(watcher)
    assert [one.kind for one in stored.transitions()] == ["fired"] * 3
    assert stored.deliveries() == [("low", 1, 1, "fired")]
    said = stored.transitions()[0].detail
    assert said["message"].endswith(" The same at 2 other places.")
    assert said["also_at"] == 2
    stored.block({place: [0.5, 3 if i == 0 else 0.5] for i, place in enumerate(places)}, first=4)
    run_all(watcher)
    stored.block({place: [3.0] for place in places}, first=6)
    run_all(watcher)
    assert [one.kind for one in stored.transitions()] == ["fired"] * 5 + ["resolved"] * 5
    assert stored.deliveries() == [("low", 1, 1, "fired"), ("low", 1, 1, "resolved")]
    assert stored.alert("low", 5).memory["leader"] is None


def test_a_leader_found_later_is_remembered_by_those_that_were_silent(stored, evaluator, channel):
    watcher = evaluator(LOW + "    notify: {places: 3, share: 1.0}")
    places = ("x@a", "x@b", "x@c", "x@d")
    stored.block({place: [3.0] for place in places})
    for number, place in enumerate(places, 1):
        stored.block({place: [0.5]}, first=number)
        run_all(watcher)
    assert stored.deliveries() == [("low", 3, 1, "fired")]
    assert {tuple(stored.alert("low", number).memory["leader"]) for number in (1, 2, 3, 4)} == {(3, 1)}
    for number, place in enumerate(("x@c", "x@b", "x@d", "x@a")):
        stored.block({place: [3.0]}, first=10 + number)
        run_all(watcher)
        assert len(stored.deliveries()) == (2 if place == "x@a" else 1)
    assert stored.deliveries()[1] == ("low", 3, 1, "resolved")


def test_what_fires_under_a_rule_that_is_taken_away_is_resolved_and_says_why(stored, evaluator, channel):
    stored.block({"x": [0.5]})
    run_all(evaluator(LOW))
    stored.block({"x": [0.5]}, first=1)
    run_all(evaluator(NAN, clock=lambda: 2e9))
    assert stored.drawn() == [("low", 1, 1, "fired", 0), ("low", 1, 1, "resolved", 0)]
    assert stored.deliveries() == [("low", 1, 1, "fired"), ("low", 1, 1, "resolved")]
    gone = stored.transitions()[1]
    assert gone.detail["message"] == "Resolved: A title: the rule is no longer in force."
    assert stored.alert("low").state == "ok"


def test_a_collapse_is_told_by_the_built_in_rules_from_the_first_warning_to_the_critical_level(
    stored, database, bus, settings, channel
):
    """Policy entropy of 0.8 nat that falls with a time constant of 150 steps, in blocks as they come."""
    chance = random.Random(1)
    watcher = Evaluator(database, RuleSet.load(Settings()), bus, settings, clock=lambda: 500.0)
    values = [0.8 * math.exp(-step / 150 + chance.gauss(0, 0.05)) for step in range(400)]
    for start in range(0, 400, 25):
        stored.block({"policy_entropy": values[start : start + 25]}, first=start)
        run_all(watcher)
    first, second = stored.transitions()
    assert (first.rule, first.kind, first.severity) == ("policy-entropy-collapse", "fired", "warning")
    assert first.detail["share_of_baseline"] > 0.55
    assert (second.kind, second.severity) == ("escalated", "critical")
    assert values[second.step] < 0.3 * first.detail["baseline"]
    assert stored.deliveries() == [("policy-entropy-collapse", 1, 1, "fired")]
    alert = stored.alert("policy-entropy-collapse")
    assert (alert.state, alert.severity) == ("firing", "critical")
    assert alert.reading["message"].startswith(
        f"Policy entropy is collapsing since step {first.since_step}: "
    )
