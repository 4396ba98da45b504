"""The outbox promises: one row per transition and channel, one worker per row, the same id for ever."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import select, update

from foreshock_server.db import Database
from foreshock_server.models import Delivery
from foreshock_server.store import outbox


def claim(database: Database, now: float, **options: Any) -> list[Delivery]:
    with database.writing() as session:
        return outbox.claim(session, now, **options)


def states(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return dict(outbox.count_deliveries(session))


def test_a_transition_becomes_one_delivery_per_channel_that_wants_it(rows, database):
    everything = rows.channel("http://a.test/")
    same_project = rows.channel("http://b.test/", project="grpo-math")
    rows.channel("http://c.test/", project="another")
    rows.channel("http://d.test/", enabled=False)
    assert rows.fire() == 2
    with database.reading() as session:
        assert set(session.scalars(select(Delivery.channel_id))) == {everything, same_project}


def test_evaluating_the_same_steps_again_adds_nothing_and_keeps_the_id(rows, database, transition):
    rows.channel("http://a.test/")
    assert rows.fire(now=2000.0) == 1
    assert rows.fire(now=9999.0) == 0
    with database.reading() as session:
        [delivery] = session.scalars(select(Delivery))
    assert delivery.created_at == 2000.0
    assert delivery.id == outbox.delivery_id(transition(), "channel-1")


def test_the_id_is_a_promise_to_receivers_and_differs_for_every_other_message(transition):
    ids = {
        outbox.delivery_id(transition(kind, episode=episode, rule=rule), channel)
        for kind in ("fired", "resolved")
        for episode in (1, 2)
        for rule in ("a", "b")
        for channel in ("x", "y")
    }
    assert len(ids) == 16
    # Written down, so that an upgrade in the middle of a retry cannot change it.
    assert outbox.delivery_id(transition(), "channel-1") == "f9489cb3-303a-512f-8fa4-dddf7c210abe"


def test_an_undone_evaluation_leaves_no_delivery(rows, database, transition):
    rows.channel("http://a.test/")

    def evaluate() -> None:
        with database.writing() as session:
            session.add(fired := transition())
            assert outbox.enqueue(session, fired, 2000.0) == 1
            raise RuntimeError("the evaluator died here")

    with pytest.raises(RuntimeError, match="died here"):
        evaluate()
    assert states(database)["waiting"] == 0


def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(rows, database):
    rows.channel("http://a.test/")
    rows.fire(now=2000.0)
    assert claim(database, 1999.0) == []
    [first] = claim(database, 2000.0, lease_seconds=30.0)
    assert claim(database, 2029.9) == []
    [again] = claim(database, 2030.0)
    assert (again.id, again.tries) == (first.id, 2)


def test_many_workers_at_once_never_claim_the_same_delivery(rows, database):
    for number in range(8):
        rows.channel(f"http://{number}.test/")
    for rule in range(5):
        rows.fire(rule=f"rule-{rule}")
    won: list[str] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        for _ in range(20):
            won.extend(delivery.id for delivery in claim(database, 2000.0, limit=3, per_channel=99))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(set(won)) == 40


def test_channels_take_turns_and_none_gets_more_than_its_share(rows, database):
    busy, quiet = rows.channel("http://busy.test/", project="grpo-math"), None
    for rule in range(20):
        rows.fire(rule=f"rule-{rule}", now=2000.0 + rule)
    quiet = rows.channel("http://quiet.test/")
    rows.fire(rule="late", now=2050.0)
    claimed = claim(database, 3000.0, limit=8, per_channel=2)
    assert sorted(delivery.channel_id for delivery in claimed) == [busy, busy, quiet]
    assert (
        claim(database, 3000.0, limit=8, per_channel=2) == []
    )  # both sends to the busy one are still in course
    with database.reading() as session:
        assert outbox.next_due(session, 3000.0) == 3000.0 + outbox.LEASE_SECONDS


def test_with_room_for_one_each_channel_gets_its_turn(rows, database):
    rows.channel("http://busy.test/", project="grpo-math")
    for rule in range(5):
        rows.fire(rule=f"rule-{rule}", now=2000.0 + rule)
    rows.channel("http://quiet.test/")
    rows.fire(rule="late", now=2050.0)
    claimed = claim(database, 3000.0, limit=2, per_channel=2)
    assert {delivery.channel_id for delivery in claimed} == {"channel-1", "channel-2"}


def test_a_second_word_that_it_arrived_does_not_move_the_first(rows, database):
    rows.channel("http://a.test/")
    rows.fire()
    [slow], [fast] = claim(database, 2000.0), claim(database, 2030.0)
    with database.writing() as session:
        outbox.delivered(session, fast, 2031.0)
        outbox.delivered(session, slow, 2044.0)
    with database.reading() as session:
        assert [row.delivered_at for row in session.scalars(select(Delivery))] == [2031.0]


def test_a_resolution_waits_for_its_firing(rows, database):
    rows.channel("http://a.test/")
    rows.fire("resolved")
    rows.fire("fired")
    rows.fire("fired", episode=2)
    [fired] = claim(database, 2000.0)
    assert (fired.kind, fired.episode) == ("fired", 1)
    with database.writing() as session:
        outbox.failed(session, fired, 2000.0, "no", chance=0.5)
    assert claim(database, 2000.5) == []
    with database.reading() as session:
        assert outbox.next_due(session, 2000.5) == 2001.0
    order = []
    for _ in range(3):
        [delivery] = claim(database, 2001.0)
        order.append((delivery.kind, delivery.episode))
        with database.writing() as session:
            outbox.delivered(session, delivery, 2001.0)
    assert order == [("fired", 1), ("resolved", 1), ("fired", 2)]


def test_a_firing_that_was_given_up_does_not_hold_its_resolution(rows, database):
    rows.channel("http://a.test/")
    rows.fire("fired")
    rows.fire("resolved")
    [fired] = claim(database, 2000.0)
    with database.writing() as session:
        assert outbox.failed(session, fired, 2000.0, "gone", permanent=True)
    [resolved] = claim(database, 2000.0)
    assert resolved.kind == "resolved"


def test_the_first_tries_are_quick_and_the_later_ones_a_quarter_of_an_hour_apart():
    assert [outbox.backoff(tries, 0.5) for tries in range(1, 9)] == [1, 5, 25, 125, 625, 900, 900, 900]
    assert outbox.backoff(10_000, 0.5) == 900  # no overflow after a very long time
    assert outbox.backoff(2, 0.0) == 3.75
    assert outbox.backoff(2, 1.0) == 6.25


def test_what_the_receiver_asks_for_is_waited_and_holds_for_its_whole_channel(rows, database):
    rows.channel("http://a.test/", project="grpo-math")
    for rule in ("one", "two", "three"):
        rows.fire(rule=rule)
    rows.channel("http://b.test/")
    rows.fire(rule="four")
    [first, *_] = claim(database, 2000.0, limit=1)
    with database.writing() as session:
        outbox.failed(session, first, 2000.0, "slower", retry_after=60.0)
    assert {delivery.channel_id for delivery in claim(database, 2059.0, per_channel=9)} == {"channel-2"}
    assert len(claim(database, 2060.0, per_channel=9)) == 4  # the one that was told, and three behind it


def test_a_receiver_cannot_silence_a_channel_for_ever(rows, database):
    rows.channel("http://a.test/")
    rows.fire()
    [delivery] = claim(database, 2000.0)
    with database.writing() as session:
        outbox.failed(session, delivery, 2000.0, "never", retry_after=1e12)
    with database.reading() as session:
        assert outbox.next_due(session, 2000.0) == 2000.0 + outbox.LONGEST_WAIT


@pytest.mark.parametrize(
    ("options", "tries", "age", "final"),
    [
        ({}, 1, 0.0, False),
        ({"permanent": True}, 1, 0.0, True),
        ({"refused": True}, 4, 100.0, False),
        ({"refused": True}, 5, 100.0, True),
        ({}, 99, 86_399.0, False),
        ({}, 99, 86_400.0, True),
        ({}, 2, 90_000.0, False),  # the server itself was away for a day: the receiver gets its chance
    ],
)
def test_giving_up(rows, database, options, tries, age, final):
    rows.channel("http://a.test/")
    rows.fire(now=2000.0)
    with database.writing() as session:
        session.execute(update(Delivery).values(tries=tries - 1))
    [delivery] = claim(database, 2000.0 + age)
    with database.writing() as session:
        assert outbox.failed(session, delivery, 2000.0 + age, "why", **options) is final
    assert states(database)["failed" if final else "waiting"] == 1
    with database.reading() as session:
        [stored] = session.scalars(select(Delivery))
    assert stored.error == "why"


def test_a_worker_whose_lease_ended_cannot_undo_what_the_next_one_did(rows, database):
    rows.channel("http://a.test/")
    rows.fire()
    [slow] = claim(database, 2000.0)
    [fast] = claim(database, 2030.0)
    with database.writing() as session:
        assert outbox.failed(session, slow, 2031.0, "late news", permanent=True) is False
    assert states(database)["waiting"] == 1
    with database.writing() as session:
        outbox.delivered(session, fast, 2031.0)
        assert outbox.failed(session, fast, 2032.0, "later still", permanent=True) is False
    assert states(database) == {"waiting": 0, "delivered": 1, "failed": 0, "tries": 2}


def test_nothing_waiting_means_nothing_is_due(rows, database):
    with database.reading() as session:
        assert outbox.next_due(session, 2000.0) is None
