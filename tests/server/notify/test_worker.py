"""The deliverer, end to end: rows in the outbox -> a real receiver -> the outcome on the row."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select, update
from standardwebhooks.webhooks import Webhook as Verifier

from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.models import Channel, Delivery
from foreshock_server.notify.channel import MemoryChannel, NotDelivered
from foreshock_server.notify.kinds import open_channel
from foreshock_server.notify.reach import EVERYWHERE, Way
from foreshock_server.notify.worker import Deliverer
from foreshock_server.settings import Settings
from foreshock_server.store import outbox


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 2000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bus() -> LocalBus:
    return LocalBus()


@pytest.fixture
def deliverer(
    database: Database, settings: Settings, bus: LocalBus, clock: Clock
) -> Iterator[Callable[..., Deliverer]]:
    """Starts deliverers over one database, whose jitter is none."""
    started: list[Deliverer] = []

    def start(**options: Any) -> Deliverer:
        started.append(
            Deliverer(database, settings, bus, **{"clock": clock, "chance": lambda: 0.5, **options})
        )
        return started[-1]

    yield start
    for each in started:
        each.close()


def only_row(database: Database) -> Delivery:
    with database.reading() as session:
        [delivery] = session.scalars(select(Delivery))
    return delivery


def test_a_fired_alert_reaches_the_receiver_signed_with_everything_a_person_needs(
    rows, receive, deliverer, database, secret, settings
):
    receiver = receive()
    rows.channel(receiver.url)
    rows.fire()
    assert deliverer().run_once() == 1
    [got] = receiver.received
    Verifier(secret).verify(got.body, got.headers)
    row = only_row(database)
    assert (row.state, row.tries, row.id, row.delivered_at) == ("delivered", 1, got.id, 2000.0)
    url = f"{settings.page_url}/runs/run-1"
    assert got.json() == {
        "type": "alert.fired",
        "at": "2026-10-14T17:46:40.500Z",
        "link": url,
        "run": {"id": "run-1", "project": "grpo-math", "name": "brisk <otter> & co", "url": url},
        "incident": None,
        "chart": None,
        "alert": {
            "rule": "policy-entropy-collapse",
            "title": "Policy entropy is collapsing",
            "severity": "critical",
            "episode": 1,
            "family": "policy entropy",
            "series": "policy_entropy",
            "statistic": "policy_entropy",
            "place": None,
            "unit": "nat",
            "step": 412,
            "since_step": 380,
            "value": 0.29,
            "level": 0.31,
            "baseline": 0.82,
            "threshold": 0.205,
            "warn_level": None,
            "clear": 0.4,
            "share_of_baseline": pytest.approx(0.31 / 0.82),
            "forecast": {"low_steps": 120, "high_steps": 240, "target_share": 0.2},
            "also_at": None,
            "message": "Policy entropy is collapsing since step 380: 0.31 nat, 38 % of baseline.",
            "reason": None,
            "runbook": {
                "meaning": "The policy commits to a few tokens.",
                "check": ["Is the reward still rising?"],
                "try": [
                    {
                        "text": "Raise the upper clip to 0.28.",
                        "basis": "paper",
                        "source": "DAPO, arXiv:2503.14476",
                    },
                    {"text": "Resume from before the fall.", "basis": "inference", "source": "measured here"},
                ],
            },
        },
    }


def test_one_message_when_it_fires_and_one_when_it_resolves(rows, receive, deliverer):
    receiver = receive()
    rows.channel(receiver.url)
    rows.fire("fired")
    rows.fire("resolved")
    assert deliverer().run_once() == 2
    assert [got.json()["type"] for got in receiver.received] == ["alert.fired", "alert.resolved"]


def test_a_failing_receiver_gets_the_same_id_again_until_it_takes_it(
    rows, receive, answer, deliverer, database, clock
):
    receiver = receive(answer(500), answer(503), answer(200))
    rows.channel(receiver.url)
    rows.fire()
    worker = deliverer()
    waits = []
    while (due := worker.next_due()) is not None:
        waits.append(due - clock.now)
        clock.now = due
        assert worker.run_once() == 1
    assert waits == [0.0, 1.0, 5.0]
    assert len({got.id for got in receiver.received}) == 1
    row = only_row(database)
    assert (row.state, row.tries, row.error) == ("delivered", 3, "127.0.0.1 answered 503: ok")


def test_nothing_is_sent_before_it_is_due(rows, receive, answer, deliverer, clock):
    receiver = receive(answer(500, {"Retry-After": "40"}))
    rows.channel(receiver.url)
    rows.fire()
    worker = deliverer()
    worker.run_once()
    clock.now += 39.9
    assert worker.run_once() == 0
    clock.now += 0.1
    assert worker.run_once() == 1
    assert len(receiver.received) == 2


def test_a_receiver_that_is_gone_is_given_up_and_that_is_visible(rows, receive, answer, deliverer, database):
    receiver = receive(answer(410, {}, b"moved away"))
    rows.channel(receiver.url)
    rows.fire()
    worker = deliverer()
    worker.run_once()
    row = only_row(database)
    assert (row.state, row.tries, row.error) == ("failed", 1, "127.0.0.1 answered 410: moved away")
    assert worker.next_due() is None


def test_a_receiver_that_refuses_is_tried_five_times_over_two_and_a_half_minutes(
    rows, receive, answer, deliverer, database, clock
):
    receiver = receive(*[answer(404)] * 9)
    rows.channel(receiver.url)
    rows.fire()
    worker = deliverer()
    while (due := worker.next_due()) is not None:
        clock.now = due
        worker.run_once()
    assert len(receiver.received) == 5
    assert clock.now == 2000.0 + 156
    assert only_row(database).state == "failed"


def test_a_slow_receiver_does_not_hold_the_others(rows, receive, answer, deliverer):
    slow, quick = receive(*[answer(wait=60.0)] * 9), receive()
    for number in range(6):
        rows.channel(slow.url) if number == 0 else None
        rows.fire(rule=f"rule-{number}")
    rows.channel(quick.url)
    rows.fire(rule="late")
    worker = deliverer(open_channel=lambda row: open_channel(row, Way(60.0, EVERYWHERE)))
    run = threading.Thread(target=worker.run_once)
    began = time.monotonic()
    run.start()
    while not quick.received:
        assert time.monotonic() - began < 40.0, "the quick receiver waited for the slow one"
        time.sleep(0.01)
    rows.fire(rule="later still")  # while the slow sends are in course
    while len(quick.received) < 2:
        assert time.monotonic() - began < 50.0, "new work waited for the slow receiver"
        time.sleep(0.01)
    assert slow.most_at_once == outbox.PER_CHANNEL
    slow.ending.set()
    run.join(10.0)
    assert not run.is_alive()


def test_two_deliverers_on_one_database_send_each_message_once(rows, receive, answer, deliverer, database):
    receivers = [receive(*[answer(wait=0.02)] * 40) for _ in range(3)]
    for receiver in receivers:
        rows.channel(receiver.url)
    for number in range(12):
        rows.fire(rule=f"rule-{number}")
    workers = [deliverer(), deliverer()]
    outcomes: list[int] = []

    def drain(worker: Deliverer) -> None:
        while (due := worker.next_due()) is not None and due <= 2000.0 + outbox.LEASE_SECONDS:
            outcomes.append(worker.run_once())

    threads = [threading.Thread(target=drain, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    ids = [got.id for receiver in receivers for got in receiver.received]
    assert len(ids) == len(set(ids)) == sum(outcomes) == 36


def test_what_a_killed_worker_had_claimed_is_sent_by_another_with_the_same_id(
    rows, receive, deliverer, database, clock
):
    receiver = receive()
    rows.channel(receiver.url)
    rows.fire()
    with database.writing() as session:
        [claimed] = outbox.claim(session, clock.now)  # and here the process dies
    worker = deliverer()
    assert worker.run_once() == 0
    assert worker.next_due() == clock.now + outbox.LEASE_SECONDS
    clock.now += outbox.LEASE_SECONDS
    assert worker.run_once() == 1
    assert [got.id for got in receiver.received] == [claimed.id]
    assert only_row(database).tries == 2


_DELIVER = """
import sys
from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.notify.kinds import open_channel
from foreshock_server.notify.reach import EVERYWHERE, Way
from foreshock_server.notify.worker import Deliverer
from foreshock_server.settings import Settings

database = Database(sys.argv[1])
print("ready", flush=True)
Deliverer(database, Settings(), LocalBus()).run_once()
"""


@pytest.mark.slow
def test_a_worker_killed_between_sending_and_recording_sends_again_with_the_same_id(
    rows, receive, answer, deliverer, database, database_url, settings, clock
):
    receiver = receive(answer(wait=60.0))  # the message arrives; the answer does not
    rows.channel(receiver.url)
    rows.fire(now=time.time())
    process = subprocess.Popen(
        [sys.executable, "-c", _DELIVER, database_url],
        env={
            **os.environ,
            "FORESHOCK_PUBLIC_URL": settings.page_url,
            "FORESHOCK_PRIVATE_TARGETS": "all",
        },
        stdout=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 30.0
        while not receiver.received:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    assert only_row(database).state == "waiting"
    clock.now = time.time() + outbox.LEASE_SECONDS
    assert deliverer().run_once() == 1
    first, second = receiver.received
    assert first.id == second.id
    assert first.body == second.body
    assert only_row(database).state == "delivered"


def test_a_fault_of_ours_is_tried_again_and_names_no_secret(rows, deliverer, database, clock):
    rows.channel("http://a.test/secret-path")
    rows.fire()

    class Broken(MemoryChannel):
        def send(self, message: Any, delivery_id: str) -> None:
            raise KeyError("secret-path")

    assert deliverer(open_channel=lambda row: Broken()).run_once() == 1
    row = only_row(database)
    assert row.state == "waiting"
    assert row.error == "a fault of Foreshock's (KeyError); the server's log has it"


def test_channels_that_went_away_fail_what_waits_for_them_and_say_so(rows, receive, deliverer, database):
    receiver = receive()
    for number in range(2):
        rows.channel(receiver.url)
        rows.fire(rule=f"rule-{number}")
    with database.writing() as session:
        session.execute(update(Channel).where(Channel.id == "channel-1").values(enabled=False))
        session.delete(session.get(Channel, "channel-2"))
    deliverer().run_once()
    with database.reading() as session:
        errors = {
            tuple(row) for row in session.execute(select(Delivery.channel_id, Delivery.state, Delivery.error))
        }
    assert errors == {
        ("channel-1", "failed", "the channel was disabled before this was sent"),
        ("channel-2", "failed", "the channel was deleted before this was sent"),
    }
    assert receiver.received == []


def test_a_transition_without_a_runbook_gets_the_rules(rows, deliverer, database, transition):
    rows.channel("http://a.test/")
    with database.writing() as session:
        session.add(bare := transition())
        bare.detail = {name: value for name, value in bare.detail.items() if name != "runbook"}
        outbox.enqueue(session, bare, 2000.0)
    channel = MemoryChannel()
    books = {"policy-entropy-collapse": {"meaning": "From the rule.", "check": ["a"], "try": []}}
    deliverer(open_channel=lambda row: channel, runbook_of=books.get).run_once()
    [(_, message)] = channel.sent
    assert message.alert.runbook.meaning == "From the rule."


def test_each_outcome_is_published(rows, deliverer, bus):
    rows.channel("http://a.test/")
    rows.fire()
    heard: list[str] = []
    bus.subscribe(heard.append)
    channel = MemoryChannel(NotDelivered("not now", retry_after=0.0))
    worker = deliverer(open_channel=lambda row: channel)
    worker.run_once()
    assert heard == ["run-1"]


def test_closing_stops_claiming(rows, receive, deliverer, database):
    rows.channel(receive().url)
    rows.fire()
    worker = deliverer()
    worker.close()
    assert worker.run_once() == 0
    assert only_row(database).tries == 0
