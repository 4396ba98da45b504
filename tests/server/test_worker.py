"""A stage works at once when hinted, looks by itself, outlives its failures, and stops in bounded time."""

from __future__ import annotations

import threading
import time

from sqlalchemy import select

from foreshock_server import worker
from foreshock_server.bus import LocalBus
from foreshock_server.models import Alert, Series, Writer
from foreshock_server.rules.load import RuleSet
from foreshock_server.worker import Stage, Workers


class Work:
    """Counts its runs; does what it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.ran = threading.Event()
        self.answers: list[object] = []
        self.delay = 0.0

    def run_once(self) -> int:
        self.runs += 1
        self.ran.set()
        time.sleep(self.delay)
        answer = self.answers.pop(0) if self.answers else 0
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int)
        return answer

    def again(self, seconds: float = 5.0) -> float:
        """Seconds until the next run."""
        began = time.monotonic()
        assert self.ran.wait(seconds)
        self.ran.clear()
        return time.monotonic() - began


def started(work: Work, **more):
    bus = LocalBus()
    stage = Stage("test", work.run_once, bus, **more)
    stage.start()
    work.again()
    return bus, stage


def test_a_hint_is_followed_at_once():
    work = Work()
    bus, stage = started(work)
    time.sleep(0.1)
    bus.publish("run-1")
    assert work.again() < 0.5 * worker.LOOK_EVERY
    assert stage.stop(5)


def test_without_a_hint_it_looks_by_itself():
    work = Work()
    _, stage = started(work)
    assert 0.5 * worker.LOOK_EVERY < work.again() < 2 * worker.LOOK_EVERY
    assert stage.stop(5)


def test_it_goes_on_until_nothing_is_left():
    work = Work()
    work.answers = [3, 2, 1, 0]
    _, stage = started(work)
    time.sleep(0.2)
    assert work.runs == 4
    assert stage.stop(5)


def test_its_own_work_wakes_it_when_due():
    work = Work()
    _, stage = started(work, next_due=lambda: time.time() + 0.1)
    assert work.again() < 0.5
    assert stage.stop(5)


def test_a_failure_is_logged_and_tried_again_later_and_hints_do_not_hurry_it(caplog):
    work = Work()
    work.answers = [RuntimeError("no"), RuntimeError("no again")]
    bus, stage = started(work)
    for _ in range(20):
        bus.publish("run-1")
    assert work.again() > 0.5
    assert work.again(10) > 1.5
    time.sleep(0.1)
    assert stage.failures == 0
    assert [record.exc_info[1].args[0] for record in caplog.records if record.exc_info] == ["no", "no again"]
    assert stage.stop(5)


def test_stopping_does_not_wait_for_work_without_end():
    def endless() -> int:
        time.sleep(3)
        return 1

    stage = Stage("test", endless, LocalBus())
    stage.start()
    time.sleep(0.1)
    began = time.monotonic()
    assert not stage.stop(0.2)
    assert time.monotonic() - began < 1
    assert stage.stop(10)  # it ends after what was in course, although there was more


def test_one_that_rests_takes_what_comes_meanwhile_together():
    work, tireless = Work(), Work()
    for one in (work, tireless):
        one.delay = 0.02
    bus = LocalBus()
    stages = [Stage("a", work.run_once, bus, longest_rest=1.0), Stage("b", tireless.run_once, bus)]
    for stage in stages:
        stage.start()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        bus.publish("run-1")
        time.sleep(0.002)
    assert 2 <= work.runs < tireless.runs / 3
    work.ran.clear()
    bus.publish("run-1")
    assert work.ran.wait(5)  # a rest is no end
    assert all(stage.stop(5) for stage in stages)


def test_one_that_rests_works_on_while_it_is_behind():
    work = Work()
    work.delay, work.answers = 0.02, [1] * 50
    stage = Stage("a", work.run_once, LocalBus(), longest_rest=60.0, behind=lambda: work.runs < 30)
    stage.start()
    until = time.monotonic() + 30
    while work.runs < 30:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.3)
    assert work.runs == 30  # then it rests, whatever there is
    assert stage.stop(5)


def test_what_was_only_in_memory_is_stored_when_the_workers_stop(client, wire, database, settings):
    trainer = wire.Trainer(client)
    trainer.open()
    workers = Workers(database, LocalBus(), settings, RuleSet.load(settings))
    workers.start()
    trainer.send(1, [wire.rows(1, [0], [[1.0]])], [wire.frame(1, ["policy_entropy"])])
    evaluated = workers._evaluator._memories
    until = time.monotonic() + 20
    while "run-1" not in evaluated or not evaluated["run-1"].blocks:
        assert time.monotonic() < until
        time.sleep(0.01)
    with database.reading() as session:
        assert session.scalars(select(Writer.evaluated_seq)).all() == [0]
    assert workers.stop(10)
    with database.reading() as session:
        assert session.scalars(select(Writer.evaluated_seq)).all() == [1]
        [series] = session.scalars(select(Series)).all()
        judging = {rule.id for rule in RuleSet.load(settings).matching(series) if not rule.detector.skips}
        assert {alert.rule for alert in session.scalars(select(Alert))} == judging
        assert len(judging) >= 2


def test_stopping_what_never_started_is_nothing():
    assert Stage("test", lambda: 0, LocalBus()).stop(1)


def test_workers_stop_while_idle(database, settings):
    workers = Workers(database, LocalBus(), settings, RuleSet.load(settings))
    workers.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert workers.stop(10)
    assert time.monotonic() - began < 3
    assert not any(stage.failures for stage in workers.stages)
