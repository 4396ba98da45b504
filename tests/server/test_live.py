"""A change reaches the viewer at once, a viewer that was away resumes, and none holds the server up."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from foreshock_server.models import Run
from foreshock_server.query import live


def on_a_loop(coroutine):
    """Its result, from an event loop on a thread of its own: the main thread may have one (a browser's, in the same session)."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


class Stream:
    """A client of server-sent events over a plain socket: TestClient cannot read what does not end."""

    def __init__(self, address: str, path: str, **headers: str) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Accept-Encoding: gzip",  # as browsers send it: a compressor would hold events back
            *(f"{k}: {v}" for k, v in headers.items()),
            "",
            "",
        ]
        self._socket.sendall("\r\n".join(lines).encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def event(self) -> dict[str, Any] | None:
        """The next event; None at the end of the stream."""
        event: dict[str, Any] = {}
        while True:
            if self._file.readline() == b"":  # the length of a chunk
                return None
            text = b""
            while (line := self._file.readline()) not in (b"\r\n", b""):
                text += line
            for one in text.decode().splitlines():
                name, _, value = one.partition(": ")
                if name == "data":
                    event["data"] = json.loads(value)
                elif name in ("id", "event"):
                    event[name] = value
            if "data" in event:
                return event
            if not text:
                return None

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def streaming(*args: Any, **headers: str) -> Iterator[Stream]:
    stream = Stream(*args, **headers)
    yield stream
    stream.close()


def test_a_change_arrives_at_once_with_the_revision_as_its_id(served, wire):
    trainer = wire.Trainer(served.http)
    trainer.open()
    with streaming(served.url, "/api/v1/runs/run-1/live") as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert stream.event() == {
            "event": "change",
            "id": "1",
            "data": {"run": "run-1", "revision": 1, "last_step": None, "state": "running", "firing": 0},
        }
        began = time.monotonic()
        trainer.send(1, [wire.rows(1, [7], [[1]])], [wire.frame(1, ["a"])])
        event = stream.event()
        assert time.monotonic() - began < 1.0
        assert (event["id"], event["data"]["last_step"]) == ("2", 7)


def test_a_viewer_resumes_after_the_last_event_it_saw(served, wire):
    trainer = wire.Trainer(served.http)
    trainer.open()
    for seq in (1, 2, 3):
        trainer.send(seq, [wire.rows(1, [seq], [[1]])], [wire.frame(1, ["a"])])
    for resume in (
        {"path": "/api/v1/runs/run-1/live", "Last-Event-ID": "2"},
        {"path": "/api/v1/runs/run-1/live?cursor=2"},
    ):
        path = resume.pop("path")
        with streaming(served.url, path, **resume) as stream:
            assert stream.event()["data"]["revision"] == 4
    with streaming(served.url, "/api/v1/runs/run-1/live?cursor=4") as stream:
        trainer.send(4)
        assert stream.event()["data"]["revision"] == 5


def test_the_list_tells_of_every_run(served, wire):
    with streaming(served.url, "/api/v1/live") as stream:
        for name in ("one", "two"):
            wire.Trainer(served.http, run=name).open()
        events = [stream.event(), stream.event()]
        assert [event["data"]["run"] for event in events] == ["one", "two"]
    with streaming(served.url, "/api/v1/live", **{"Last-Event-ID": events[-1]["id"]}) as stream:
        wire.Trainer(served.http, run="three").open()
        seen = []
        while "three" not in seen:  # what lies just before the cursor may come again: nothing is passed over
            seen.append(stream.event()["data"]["run"])
        assert set(seen) <= {"one", "two", "three"}


def test_many_fast_changes_are_few_events_and_the_last_one_is_told(served, wire):
    trainer = wire.Trainer(served.http)
    trainer.open()
    with streaming(served.url, "/api/v1/runs/run-1/live") as stream:
        for seq in range(1, 61):
            trainer.send(seq)
        seen = []
        while not seen or seen[-1] < 61:
            seen.append(stream.event()["data"]["revision"])
        assert len(seen) < 40
        assert seen == sorted(set(seen))


def test_a_stream_of_an_unknown_run_or_with_a_wrong_cursor_is_an_answer_like_any_other(client, trainer):
    assert client.get("/api/v1/runs/nobody/live").json()["error"] == "UnknownRun"
    answer = client.get("/api/v1/runs/run-1/live", headers={"Last-Event-ID": "yesterday"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Last-Event-ID")


def test_a_server_with_viewers_stops_within_seconds(served, wire):
    wire.Trainer(served.http).open()
    with (
        streaming(served.url, "/api/v1/runs/run-1/live") as one,
        streaming(served.url, "/api/v1/live") as other,
    ):
        assert (one.event()["id"], other.event()["event"]) == ("1", "change")
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 4.0
        assert (one.event(), other.event()) == (None, None)


def test_a_silent_run_is_told_although_no_row_changed(client, trainer):
    state = client.app.state
    look = live.run_look(state.database, state.settings, "run-1", None)
    assert [event["data"]["state"] for event in look()] == ["running"]
    assert look() == []
    with state.database.writing() as session:
        session.execute(update(Run).values(updated_at=Run.updated_at - state.settings.silent_after - 1))
    assert [event["data"]["state"] for event in look()] == ["silent"]
    assert look() == []


def test_the_list_is_told_of_a_run_that_fell_silent_once(client, trainer):
    state = client.app.state
    now = time.time()
    look = live.list_look(state.database, state.settings, now, now)
    assert [event["data"]["state"] for event in look()] == ["running"]
    with state.database.writing() as session:
        session.execute(update(Run).values(updated_at=now - state.settings.silent_after - 1))
    assert [event["data"]["state"] for event in look()] == ["silent"]
    assert look() == []


def test_a_change_committed_late_with_an_earlier_time_is_not_passed_over(client, wire):
    state = client.app.state
    look = live.list_look(state.database, state.settings, None, time.time())
    wire.Trainer(client, run="one").open()
    assert [event["data"]["run"] for event in look()] == ["one"]
    wire.Trainer(client, run="two").open()
    with state.database.writing() as session:
        session.execute(update(Run).where(Run.id == "two").values(updated_at=Run.updated_at - 3))
    assert [event["data"]["run"] for event in look()] == ["two"]
    assert look() == []


def test_a_lost_hint_costs_seconds_and_a_database_that_is_away_costs_no_stream(client, trainer):
    """The stream itself, without a socket: on an event loop of its own, with a look that fails at first."""
    listeners = live.Listeners(client.app.state.bus)
    answers: list[Any] = [
        OperationalError("SELECT", {}, Exception("away")),
        [],
        [{"id": 3, "data": {"run": "r"}}],
    ]

    def look() -> list[dict[str, Any]]:
        answer = answers.pop(0) if answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def first() -> list[str]:
        listeners.open()
        stream = live._events(listeners, "r", look)
        told = [await anext(stream), await anext(stream)]
        assert len(listeners) == 1
        await stream.aclose()
        return told

    began = time.monotonic()
    told = on_a_loop(first())
    assert told[1] == 'event: change\nid: 3\ndata: {"run": "r"}\n\n'
    assert 1.9 * live.LOOK_EVERY < time.monotonic() - began < 3 * live.LOOK_EVERY
    assert len(listeners) == 0


def test_a_quiet_stream_shows_that_it_lives(client, monkeypatch):
    monkeypatch.setattr(live, "HEARTBEAT", 0.05)
    monkeypatch.setattr(live, "LOOK_EVERY", 0.02)
    listeners = live.Listeners(client.app.state.bus)

    async def beat() -> str:
        stream = live._events(listeners, "r", list)
        await anext(stream)
        told = await anext(stream)
        await stream.aclose()
        return told

    assert on_a_loop(beat()).startswith(":")


def test_hints_from_any_thread_wake_only_those_who_wait_for_the_run(client):
    bus = client.app.state.bus
    listeners = live.Listeners(bus)

    async def wait() -> list[bool]:
        listeners.open()
        mine, other, every = listeners.add("mine"), listeners.add("other"), listeners.add(None)
        thread = threading.Thread(target=bus.publish, args=("mine",))
        thread.start()
        await asyncio.wait_for(mine.wait(), 5)
        thread.join()
        return [mine.is_set(), other.is_set(), every.is_set()]

    assert on_a_loop(wait()) == [True, False, True]
    bus.publish("mine")  # its loop has ended: nobody is harmed


def test_more_streams_than_there_is_room_for_are_told_to_come_later(client, trainer, monkeypatch):
    monkeypatch.setattr(live, "MOST_STREAMS", 2)
    listeners = client.app.state.listeners
    open_ones = [listeners.add("run-1"), listeners.add(None)]
    for path in ("/api/v1/live", "/api/v1/runs/run-1/live"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (503, "Overloaded")
        assert float(answer.headers["retry-after"]) > 0
    listeners.remove(open_ones[0])
    listeners.closing = True  # the next one ends at once
    assert client.get("/api/v1/live").status_code == 200


@pytest.mark.parametrize("viewers", [30])
def test_viewers_do_not_keep_others_waiting(served, wire, viewers):
    trainer = wire.Trainer(served.http)
    trainer.open()
    streams = [Stream(served.url, "/api/v1/runs/run-1/live") for _ in range(viewers)]
    began = time.monotonic()
    trainer.send(1, [wire.rows(1, [7], [[1]])], [wire.frame(1, ["a"])])
    for stream in streams:
        while stream.event()["data"]["last_step"] != 7:
            pass
    assert time.monotonic() - began < 5.0
    for stream in streams:
        stream.close()
