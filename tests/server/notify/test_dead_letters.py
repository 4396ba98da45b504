"""Messages that were given up: seen with their tries, sent again under the same id, and forgotten one day."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from foreshock_server.app import create_app
from foreshock_server.bus import LocalBus
from foreshock_server.cli import deliveries
from foreshock_server.db import Database
from foreshock_server.lifecycle.cleanup import Cleaner
from foreshock_server.models import Breaker, Delivery
from foreshock_server.notify.worker import Deliverer
from foreshock_server.settings import Settings
from foreshock_server.store import letters


@pytest.fixture
def api(database: Database, settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8642/api/v1/") as client:
        yield client


@pytest.fixture
def send(database: Database, settings: Settings) -> Iterator[Any]:
    worker = Deliverer(database, settings, LocalBus())
    yield worker.run_once
    worker.close()


@pytest.fixture
def dead(rows, receive, answer, send, database) -> Any:
    """One message that its receiver said was gone; the receiver takes the next."""
    receiver = receive(answer(410, {}, b"gone, and abcdefgh1234 with it"))
    rows.channel(receiver.url)
    rows.fire(now=time.time())
    send()
    return receiver


def only(api: TestClient, **query: str) -> Any:
    [one] = api.get("deliveries", params=query).json()["deliveries"]
    return one


def test_a_dead_letter_is_seen_with_its_tries_and_without_a_secret(api, dead):
    one = only(api, state="failed")
    assert (one["tries"], one["answer"]["status"]) == (1, 410)
    told = api.get(f"deliveries/{one['id']}")
    assert told.status_code == 200
    [entry] = told.json()["log"]
    assert (entry["try"], entry["status"]) == (1, 410)
    assert entry["said"].startswith("gone, and ")
    assert entry["at"] <= time.time()
    assert "abcdefgh1234" not in told.text + api.get("deliveries").text
    assert api.get("deliveries/nothing").json()["error"] == "UnknownDelivery"


def test_a_dead_letter_goes_again_under_the_same_id(api, dead, send):
    one = only(api)
    again = api.post(f"deliveries/{one['id']}/retry")
    assert (again.status_code, again.json()["state"], again.json()["tries"]) == (200, "waiting", 0)
    send()
    done = api.get(f"deliveries/{one['id']}").json()
    assert (done["state"], done["tries"]) == ("delivered", 1)
    assert [entry["status"] for entry in done["log"]] == [410, 200]
    assert [got.id for got in dead.received] == [one["id"], one["id"]]
    refused = api.post(f"deliveries/{one['id']}/retry")
    assert (refused.status_code, refused.json()["error"]) == (422, "Invalid")
    assert "this message is delivered" in refused.json()["detail"]


def test_patience_begins_again_with_a_retry(api, rows, receive, answer, send, database):
    receiver = receive(*[answer(500)] * 2)
    rows.channel(receiver.url)
    rows.fire(now=time.time() - 90_000)
    with database.writing() as session:
        session.execute(update(Delivery).values(tries=20))
    send()
    assert only(api)["state"] == "failed"
    with database.writing() as session:
        letters.retry_one(session, only(api)["id"], time.time())
        session.execute(update(Delivery).values(tries=20))
    send()
    assert only(api)["state"] == "waiting"


def test_nobody_is_told_that_it_fires_after_being_told_that_it_is_over(api, rows, dead, send, database):
    rows.fire("resolved", now=time.time())
    send()
    failed = only(api, state="failed")
    refused = api.post(f"deliveries/{failed['id']}/retry")
    assert (refused.status_code, refused.json()["error"]) == (409, "Outdated")
    assert api.post("deliveries/retry").json() == {"retried": [], "outdated": 1}
    rows.fire("fired", episode=2, now=time.time())
    with database.writing() as session:
        session.execute(update(Delivery).where(Delivery.episode == 2).values(state="failed"))
    second = next(one["id"] for one in api.get("deliveries").json()["deliveries"] if one["episode"] == 2)
    assert api.post("deliveries/retry").json() == {"retried": [second], "outdated": 1}


def test_all_dead_letters_of_a_channel_go_again_and_it_is_tried_at_once(api, rows, receive, database, send):
    first, second = receive(), receive()
    for receiver in (first, second):
        rows.channel(receiver.url)
    for number in range(3):
        rows.fire(rule=f"rule-{number}", now=time.time())
    with database.writing() as session:
        session.execute(update(Delivery).values(state="failed"))
        for name in ("channel-1", "channel-2"):
            session.add(
                Breaker(channel_id=name, failures=9, failing_since=1.0, quiet_until=time.time() + 900)
            )
    answered = api.post("deliveries/retry", params={"channel": "channel-1"}).json()
    assert (len(answered["retried"]), answered["outdated"]) == (3, 0)
    send()
    assert (len(first.received), len(second.received)) == (3, 0)
    assert len(api.post("deliveries/retry", params={"run": "run-1"}).json()["retried"]) == 3
    assert api.post("deliveries/retry", params={"run": "another"}).json()["retried"] == []


def test_the_state_of_a_channel_is_shown_and_a_test_that_arrives_mends_it(api, rows, receive, database, send):
    receiver = receive()
    channel = rows.channel(receiver.url)
    assert api.get(f"channels/{channel}").json()["health"]["state"] == "closed"
    rows.fire(now=time.time())
    later = time.time() + 900
    with database.writing() as session:
        session.add(
            Breaker(channel_id=channel, failures=9, failing_since=1.0, quiet_until=later, error="it is down")
        )
        session.execute(update(Delivery).values(next_at=later))
    health = {"state": "open", "failures": 9, "since": 1.0, "until": later, "error": "it is down"}
    assert api.get(f"channels/{channel}").json()["health"] == health
    assert api.get("channels").json()["channels"][0]["health"] == health
    assert only(api)["next_at"] == later
    assert send() == 0
    tested = api.post(f"channels/{channel}/test").json()
    assert (tested["delivered"], tested["status"], tested["said"]) == (True, 200, "ok")
    assert api.get(f"channels/{channel}").json()["health"]["state"] == "closed"
    assert send() == 1


@pytest.mark.parametrize("change", [{"url": "https://example.org/hook"}, {"enabled": True}])
def test_a_channel_that_was_changed_is_tried_at_once(api, rows, receive, database, change):
    channel = rows.channel(receive().url)
    with database.writing() as session:
        session.add(Breaker(channel_id=channel, failures=9, failing_since=1.0, quiet_until=time.time() + 900))
    assert api.patch(f"channels/{channel}", json={"name": "other"}).json()["health"]["state"] == "open"
    assert api.patch(f"channels/{channel}", json=change).json()["health"]["state"] == "closed"


def test_old_messages_are_forgotten_and_those_that_wait_are_not(rows, database):
    rows.channel("http://a.test/")
    for number in range(5):
        rows.fire(rule=f"rule-{number}", now=1000.0 * number)
    with database.writing() as session:
        session.execute(update(Delivery).where(Delivery.rule != "rule-1").values(state="delivered"))
    cleaner = Cleaner(database, LocalBus(), delivery_days=2500.0 / 86400.0, clock=lambda: 5000.0)
    assert cleaner.run_once() == 2
    assert cleaner.run_once() == 0
    with database.reading() as session:
        assert set(session.scalars(select(Delivery.rule))) == {"rule-1", "rule-3", "rule-4"}


def test_old_messages_are_forgotten_a_portion_at_a_time(rows, database, monkeypatch):
    monkeypatch.setattr(letters, "AT_ONCE", 2)
    rows.channel("http://a.test/")
    for number in range(5):
        rows.fire(rule=f"rule-{number}", now=1000.0)
    with database.writing() as session:
        session.execute(update(Delivery).values(state="failed"))
    cleaner = Cleaner(database, LocalBus(), delivery_days=1.0, clock=lambda: 1e9)
    assert [cleaner.run_once() for _ in range(4)] == [2, 2, 1, 0]


@pytest.fixture
def here(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", database_url)
    monkeypatch.setenv("FORESHOCK_DATA_DIR", str(tmp_path))


def test_the_command_lists_shows_and_sends_again(here, api, dead, send, capsys):
    number = only(api)["id"]
    assert deliveries(["list", "--state", "failed"]) == 0
    shown = capsys.readouterr().out
    assert number in shown
    assert "channel 1" in shown
    assert "answered 410: gone" in shown
    assert deliveries(["show", number]) == 0
    assert "try 1, " in capsys.readouterr().out
    assert deliveries(["retry", number]) == 0
    assert capsys.readouterr().out == "1 wait again.\n"
    send()
    assert only(api)["state"] == "delivered"
    assert deliveries(["retry", "--all"]) == 0
    assert capsys.readouterr().out == "0 wait again.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["retry"], "Name the messages to send again, or write --all."),
        (["retry", "x", "--all"], "Name the messages to send again, or write --all."),
        (["retry", "x", "--channel", "c"], "--channel goes with --all."),
        (["retry", "x"], "No message has this id"),
        (["show", "x"], "No message has this id"),
    ],
)
def test_the_command_says_what_to_write_instead(here, database, words, sentence, capsys):
    assert deliveries(words) == 1
    assert sentence in capsys.readouterr().err
