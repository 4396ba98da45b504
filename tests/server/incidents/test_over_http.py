"""Incidents and silences as people ask for them, and the link in a message that needs no key."""

from __future__ import annotations

import re
import time

import pytest

from foreshock_server.bus import LocalBus
from foreshock_server.incidents.keeper import Keeper
from foreshock_server.models import Incident, Run
from foreshock_server.notify.worker import Deliverer
from foreshock_server.store.links import LASTS, acknowledge_path


@pytest.fixture
def started(world, client):
    """An incident that was told, over a receiver that is not there."""
    world.now = time.time()
    world.channel()
    world.says("f/a!")
    return client


def link(database, made_at=None):
    with database.reading() as session:
        return acknowledge_path(session.get_one(Incident, ("run-1", 1)), made_at or time.time())


def ask(client, path="/runs/run-1/incidents"):
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()["incidents"]


def test_incidents_are_listed_of_a_run_and_of_all(started, world):
    [one] = ask(started)
    assert (one["number"], one["family"], one["state"], one["severity"]) == (1, "f", "open", "warning")
    assert (one["rules"], one["firing"], one["muted"]) == (["a"], ["a"], None)
    assert ask(started, "/incidents") == [one] == ask(started, "/incidents?project=p")
    assert ask(started, "/incidents?project=q") == []
    world.says("f/a.")
    assert ask(started, "/incidents") == []
    [over] = ask(started, "/incidents?state=resolved")
    assert over["resolved_at"] == world.now
    assert started.get("/api/v1/runs/nobody/incidents").status_code == 404


def test_an_incident_tells_its_changes_its_runbooks_and_the_silences_that_fit(started, world):
    world.later(10)
    world.says("f/a@1!", "g/b!")
    world.silence(rule="a")
    world.silence(rule="c")
    world.later(10)
    world.says("f/a.", "f/a@1.")
    world.later(10)
    world.says("f/a!")
    first = started.get("/api/v1/runs/run-1/incidents/1").json()
    assert {name: first[name] for name in ask(started)[0]} == ask(started)[0]
    assert first["message"] == "a is fired."
    assert [(change["rule"], change["place"], change["kind"]) for change in first["transitions"]] == [
        ("a", "", "fired"),
        ("a", "1", "fired"),
        ("a", "", "resolved"),
        ("a", "1", "resolved"),
    ]
    assert first["runbooks"] == {"a": None}
    assert [silence["matches"] for silence in first["silences"]] == [{"rule": "a"}]
    again = started.get("/api/v1/runs/run-1/incidents/3").json()
    assert [(change["episode"], change["kind"]) for change in again["transitions"]] == [(2, "fired")]
    assert again["muted"].startswith("silence ")
    assert again["message"] == "a is fired."
    assert started.get("/api/v1/runs/run-1/incidents/4").status_code == 404


def test_incidents_that_begin_and_end_in_one_moment_keep_their_changes_apart(started, world):
    world.says("f/a.", "f/a!", "f/a.")
    for number, episode in ((1, 1), (2, 2)):
        incident = started.get(f"/api/v1/runs/run-1/incidents/{number}").json()
        assert [(change["episode"], change["kind"]) for change in incident["transitions"]] == [
            (episode, "fired"),
            (episode, "resolved"),
        ]


def test_deliveries_are_listed_of_one_incident(started, world):
    world.later(10)
    world.says("g/b!")
    asked = started.get("/api/v1/deliveries?run=run-1&incident=2").json()["deliveries"]
    assert [(one["rule"], one["incident"]) for one in asked] == [("b", 2)]
    assert started.get("/api/v1/deliveries?run=run-1&incident=0").status_code == 422


def test_acknowledging_is_done_once_and_can_be_taken_back(started):
    path = "/api/v1/runs/run-1/incidents/1/acknowledge"
    first = started.post(path).json()
    assert first["acknowledged_by"] == "somebody without a key"
    assert started.post(path).json()["acknowledged_at"] == first["acknowledged_at"]
    assert ask(started)[0]["acknowledged_at"] == first["acknowledged_at"]
    assert started.delete(path).json()["acknowledged_at"] is None
    for wrong in ("/runs/run-1/incidents/2", "/runs/nobody/incidents/1"):
        assert started.post(f"/api/v1{wrong}/acknowledge").status_code == 404
    assert started.post("/api/v1/runs/run-1/incidents/0/acknowledge").status_code == 422


def test_silences_are_made_listed_and_taken_back(client):
    wish = {"matches": {"rule": "noisy-*"}, "seconds": 3600, "reason": "known since Monday"}
    made = client.post("/api/v1/silences", json=wish)
    assert made.status_code == 201
    silence = made.json()
    assert silence["ends_at"] - silence["created_at"] == pytest.approx(3600)
    assert (silence["matches"], silence["reason"]) == ({"rule": "noisy-*"}, "known since Monday")
    assert client.get("/api/v1/silences").json()["silences"] == [silence]
    ended = client.delete(f"/api/v1/silences/{silence['id']}").json()
    assert ended["in_force"] is False
    assert client.get("/api/v1/silences").json()["silences"] == []
    assert client.get("/api/v1/silences?over=true").json()["silences"] == [ended]
    assert client.delete("/api/v1/silences/unknown").status_code == 404


@pytest.mark.parametrize(
    "wish",
    [
        {"matches": {}, "seconds": 60},
        {"matches": {"rules": "a"}, "seconds": 60},
        {"matches": {"rule": "a"}, "seconds": 0},
        {"matches": {"rule": "a"}, "seconds": 1e9},
        {"matches": {"rule": "a\x00"}, "seconds": 60},
        {"matches": {"rule": "a"}},
    ],
)
def test_a_silence_that_says_nothing_sensible_is_refused(client, wish):
    answer = client.post("/api/v1/silences", json=wish)
    assert (answer.status_code, answer.json()["error"]) == (422, "Invalid")


def test_looking_at_the_link_changes_nothing_and_its_button_acknowledges(started, database):
    address = link(database)
    for _ in range(2):  # a program that previews links, then a person
        page = started.get(address)
        assert page.status_code == 200
        assert "<form method=post><button>" in page.text
    assert started.head(address).status_code == 200
    assert ask(started)[0]["acknowledged_at"] is None
    pressed = started.post(address)
    assert "Acknowledged at" in pressed.text
    assert ask(started)[0]["acknowledged_by"] == "the link in a message"
    assert "<form" not in started.get(address).text


def test_a_link_that_was_changed_or_is_too_old_is_refused(started, database):
    good = link(database)
    old = link(database, time.time() - LASTS - 60)
    later = re.sub(r"until=(\d+)", lambda found: f"until={int(found[1]) + 1}", good)
    for address in (
        old,
        later,
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.replace("/1?", "/2?"),
        good.replace("run-1", "run-2"),
        good.split("&")[0],
        good.split("?")[0],
        good.replace("until=", "until=x"),
        good.split("signature=")[0] + "signature=%C3%A9",
    ):
        for answer in (started.get(address), started.post(address)):
            assert answer.status_code == 403, address
            assert "does not hold" in answer.text
    assert ask(started)[0]["acknowledged_at"] is None


def test_another_site_cannot_press_the_button(started, database):
    answer = started.post(link(database), headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert ask(started)[0]["acknowledged_at"] is None


def test_names_in_the_page_are_text(world, client, database):
    world.now = time.time()
    with database.writing() as session:
        session.get_one(Run, "run-1").name = "<script>x</script>"
    world.says("<b>f/a!")
    page = client.get(link(database)).text
    assert "<script>" not in page
    assert "<b>" not in page


def test_the_message_carries_a_link_that_works(world, client, database, settings):
    told = []

    class Listening:
        def send(self, message, _delivery):
            told.append(message)

    world.now = time.time()
    world.channel(repeat_seconds=600.0)
    world.says("f/a!", "f/b!")
    deliverer = Deliverer(
        database, settings, LocalBus(), open_channel=lambda _row: Listening(), clock=lambda: world.now
    )
    deliverer.run_once()
    world.now += 7200
    with database.writing() as session:
        session.get_one(Run, "run-1").updated_at = world.now
    Keeper(database, LocalBus(), clock=lambda: world.now).run_once()
    world.says("f/a.", "f/b.")
    while deliverer.run_once():
        pass
    deliverer.close()
    assert [one.type for one in told] == ["alert.fired", "alert.repeated", "alert.resolved"]
    fired, repeated, resolved = told
    assert fired.incident.number == 1
    assert fired.incident.rules == ("a", "b")
    assert fired.alert.message == "a is fired. Also in this incident: b."
    assert repeated.alert.message.startswith(
        "Still firing after 2 hours, and nobody acknowledged it. a is fired."
    )
    assert resolved.incident.acknowledge is None
    path = fired.incident.acknowledge.removeprefix(settings.page_url)
    assert client.get(path).status_code == 200
    assert fired.payload()["incident"]["acknowledge"] == fired.incident.acknowledge


def test_a_channel_says_what_it_wants_when_how_often_and_how_many_together(client):
    wants = {
        "matches": {"severity": "critical", "labels": {"team": "rl"}},
        "after_seconds": 900.0,
        "repeat_seconds": 3600.0,
        "digest_seconds": None,
    }
    body = {"name": "pager", "kind": "webhook", "url": "http://127.0.0.1:9/", **wants}
    made = client.post("/api/v1/channels", json=body)
    assert made.status_code == 201, made.text
    path = f"/api/v1/channels/{made.json()['id']}"
    assert {name: client.get(path).json()[name] for name in wants} == wants
    changed = client.patch(path, json={"matches": None, "digest_seconds": 60, "after_seconds": None}).json()
    assert (changed["matches"], changed["digest_seconds"], changed["after_seconds"]) == (None, 60, None)
    assert changed["repeat_seconds"] == 3600
    for wrong in ({"matches": {}}, {"repeat_seconds": 1}, {"after_seconds": -1}, {"matches": {"who": "*"}}):
        assert client.patch(path, json=wrong).status_code == 422, wrong


def test_a_digest_lists_what_happened(world, database, settings):
    told = []

    class Listening:
        def send(self, message, _delivery):
            told.append(message)

    world.channel(digest_seconds=3600.0)
    world.says("f/a!")
    world.now += 60
    world.says("g/B!", "f/a.")
    world.later(3600)
    deliverer = Deliverer(
        database, settings, LocalBus(), open_channel=lambda _row: Listening(), clock=lambda: world.now
    )
    while deliverer.run_once():
        pass
    deliverer.close()
    [digest] = told
    assert (digest.type, digest.alert.title, digest.alert.severity) == (
        "alert.digest",
        "3 messages",
        "critical",
    )
    assert digest.alert.message.splitlines()[0] == "- p / brisk-otter: fired: a is fired."
    assert {line.split(": ", 1)[1] for line in digest.alert.message.splitlines()[1:]} == {
        "fired: b is fired.",
        "resolved: a is resolved.",
    }
    assert len(digest.payload()["parts"]) == 3
