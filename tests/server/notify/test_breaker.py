"""A channel that fails is tried rarely, holds back no other, and sends everything once when it works again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.models import Breaker, Delivery
from foreshock_server.notify.channel import Answer, NotDelivered
from foreshock_server.notify.worker import Deliverer
from foreshock_server.settings import Settings
from foreshock_server.store import breakers, outbox

HOUR = 3600.0


class World:
    """A clock that jumps to whatever is due next, and receivers that are down for a while."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.now = 2000.0
        self.down: dict[str, float] = {}  # channel -> until when
        self.tried: list[tuple[float, str, str]] = []  # when, channel, delivery
        self.got: list[tuple[float, str, str]] = []
        self.answer: dict[str, Any] = {}  # how a receiver refuses that is down
        self.database = database
        self.worker = Deliverer(
            database,
            settings,
            LocalBus(),
            open_channel=self._open,
            clock=lambda: self.now,
            chance=lambda: 0.5,
        )

    def _open(self, row: Any) -> Any:
        world, channel = self, row.id

        class Receiver:
            def send(self, message: Any, delivery_id: str) -> Answer:
                world.tried.append((world.now, channel, delivery_id))
                if world.now < world.down.get(channel, 0.0):
                    raise NotDelivered("it is down", answer=Answer(503, "maintenance"), **world.answer)
                world.got.append((world.now, channel, delivery_id))
                return Answer(200, "ok")

        return Receiver()

    def run(self, until: float) -> None:
        """All that happens until then."""
        while (due := self.worker.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            self.worker.run_once()
        self.now = until

    def health(self, channel: str) -> dict[str, Any]:
        with self.database.reading() as session:
            return dict(breakers.shown(session.get(Breaker, channel), self.now))

    def rows(self) -> list[Delivery]:
        with self.database.reading() as session:
            return list(session.scalars(select(Delivery).order_by(Delivery.created_at, Delivery.id)))


@pytest.fixture
def world(database: Database, settings: Settings) -> Iterator[World]:
    made = World(database, settings)
    yield made
    made.worker.close()


@pytest.fixture
def fire_many(rows: Any) -> Callable[..., None]:
    def fire(count: int, now: float = 2000.0) -> None:
        for number in range(count):
            rows.fire(rule=f"rule-{number:02}", now=now)

    return fire


def test_after_an_hour_without_a_receiver_each_message_arrives_exactly_once(rows, world, fire_many):
    channel = rows.channel("http://a.test/")
    world.down[channel] = 2000.0 + HOUR
    fire_many(20)
    rows.fire("resolved", rule="rule-03")
    world.run(2000.0 + HOUR - 1)
    assert world.got == []
    tries_while_down = len(world.tried)
    world.run(2000.0 + HOUR + 1200.0)
    ids = [number for _, _, number in world.got]
    assert len(ids) == len(set(ids)) == 21
    assert tries_while_down < 20, "a message each would be two hundred tries"
    last = max(when for when, *_ in world.got)
    first = min(when for when, *_ in world.got)
    assert first <= 2000.0 + HOUR + 900.0
    assert last == first, "when one arrived, all that waited went at once"
    order = {number: place for place, (_, _, number) in enumerate(world.got)}
    by_kind = {row.kind: row.id for row in world.rows() if row.rule == "rule-03"}
    assert order[by_kind["fired"]] < order[by_kind["resolved"]]


def test_one_message_through_an_hour_without_a_receiver_and_without_workers_is_delivered_once(
    rows, world, database, settings
):
    channel = rows.channel("http://a.test/")
    world.down[channel] = 2000.0 + HOUR
    rows.fire()
    world.run(2300.0)
    again = World(database, settings)  # the process died and another begins
    again.now, again.down = 2300.0, world.down
    again.run(2000.0 + 2 * HOUR)
    assert len(again.got) == 1
    assert world.got == []
    again.worker.close()


def test_a_failing_channel_is_tried_by_one_message_at_a_time_and_ever_more_rarely(rows, world, fire_many):
    channel = rows.channel("http://a.test/")
    world.down[channel] = 2000.0 + 24 * HOUR
    fire_many(10)
    world.run(2000.0 + 3 * HOUR)
    times = [when for when, *_ in world.tried]
    beginning = [when for when in times if when <= 2001.0]
    assert len(beginning) < 10, "it was found out before every message had tried"
    gaps = [later - earlier for earlier, later in pairwise(times) if later > 2100.0]
    assert gaps[0] >= 30.0
    assert gaps == sorted(gaps)
    assert gaps[-1] == breakers.LONGEST
    health = world.health(channel)
    assert (health["state"], health["since"], health["error"]) == ("open", 2000.0, "it is down")
    assert health["until"] > world.now


def test_a_failing_channel_holds_back_no_other(rows, world, fire_many):
    bad, good = rows.channel("http://bad.test/"), rows.channel("http://good.test/")
    world.down[bad] = 2000.0 + HOUR
    fire_many(12)
    world.run(2001.0)
    assert len([1 for _, channel, _ in world.got if channel == good]) == 12
    assert world.health(good)["state"] == "closed"


def test_a_channel_that_works_now_and_then_never_opens(rows, world):
    channel = rows.channel("http://a.test/")
    for turn in range(6):
        world.down[channel] = world.now + 3.0
        rows.fire(rule=f"rule-{turn}", now=world.now)
        world.run(world.now + 100.0)
        assert world.health(channel)["failures"] == 0
    assert len(world.got) == 6


def test_the_states_of_a_breaker_are_visible_one_after_the_other(rows, world, fire_many):
    channel = rows.channel("http://a.test/")
    assert world.health(channel)["state"] == "closed"
    world.down[channel] = 9999.0
    fire_many(6)
    world.run(2010.0)
    assert world.health(channel)["state"] == "open"
    world.now = world.health(channel)["until"]
    assert world.health(channel)["state"] == "half-open"
    world.down[channel] = 0.0
    world.run(world.now + 1.0)
    assert world.health(channel) == {
        "state": "closed",
        "failures": 0,
        "since": None,
        "until": None,
        "error": None,
    }
    assert len(world.got) == 6


def test_after_a_day_all_that_waited_so_long_is_given_up_also_what_was_never_tried(rows, world, fire_many):
    channel = rows.channel("http://a.test/")
    world.down[channel] = 2000.0 + 100 * HOUR
    fire_many(300)
    world.run(2000.0 + 23 * HOUR)
    rows.fire(rule="young", now=world.now)
    assert {row.state for row in world.rows()} == {"waiting"}
    assert any(row.tries == 0 for row in world.rows())
    world.run(2000.0 + 24.6 * HOUR)
    states = {row.rule: row.state for row in world.rows()}
    assert states.pop("young") == "waiting"
    assert set(states.values()) == {"failed"}
    assert {row.error for row in world.rows() if row.tries == 0} <= {
        "given up with its channel: it is down",
        None,
    }


def test_each_try_is_remembered_with_what_the_receiver_answered(rows, world):
    channel = rows.channel("http://a.test/")
    world.down[channel] = 2003.0
    rows.fire()
    world.run(2100.0)
    [row] = world.rows()
    told = [(one["try"], one["at"], one["status"], one["said"], one["error"]) for one in row.log]
    assert told == [
        (1, 2000.0, 503, "maintenance", "it is down"),
        (2, 2001.0, 503, "maintenance", "it is down"),
        (3, 2006.0, 200, "ok", None),
    ]
    assert all(one["seconds"] >= 0.0 for one in row.log)


def test_only_the_latest_tries_are_remembered(rows, world):
    channel = rows.channel("http://a.test/")
    world.down[channel] = 2000.0 + 20 * HOUR
    rows.fire()
    world.run(2000.0 + 12 * HOUR)
    [row] = world.rows()
    assert row.tries > outbox.LOG_KEPT
    assert [one["try"] for one in row.log] == list(range(row.tries - outbox.LOG_KEPT + 1, row.tries + 1))


def test_what_was_never_sent_says_nothing_about_the_channel(rows, world, database, fire_many):
    channel = rows.channel("http://a.test/")
    fire_many(6)
    with database.writing() as session:
        from foreshock_server.models import Channel

        session.get_one(Channel, channel).enabled = False
    world.run(2010.0)
    assert {row.state for row in world.rows()} == {"failed"}
    assert world.health(channel)["failures"] == 0


def test_silence_grows_and_ends_growing():
    assert [breakers.silence(failures, 0.5) for failures in range(5, 12)] == [30, 60, 120, 240, 480, 900, 900]
    assert breakers.silence(10_000, 0.5) == 900
    assert breakers.silence(5, 0.0) == 22.5


def test_two_workers_send_one_probe(rows, world, database, fire_many):
    channel = rows.channel("http://a.test/")
    world.down[channel] = 9999.0
    fire_many(8)
    world.run(2010.0)
    until = world.health(channel)["until"]
    with database.writing() as session:
        first = outbox.claim(session, until)
    with database.writing() as session:
        second = outbox.claim(session, until)
    assert (len(first), len(second)) == (1, 0)
