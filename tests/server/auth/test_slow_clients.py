"""Clients that hold a connection and do nothing for it: cut off, each by its own clock, while others are served."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.exceptions import HTTPException

from foreshock_server.app import edge, http
from foreshock_server.app.edge import PIECE, Edge
from foreshock_server.app.http import Http

SOON = 0.3  # seconds of the clocks that these tests wait for
LATE = 3600.0  # of those that they do not
PATIENCE = 30.0  # seconds until a test gives up
HUGE = 64 * 2**20  # bytes, more than any socket holds on its way


@pytest.fixture(autouse=True)
def clocks(monkeypatch) -> Callable[..., None]:
    """Sets the clocks; what is not named is late."""

    def put(**seconds: float) -> None:
        for name in ("HEAD_SECONDS", "REST_SECONDS", "STALL_SECONDS"):
            monkeypatch.setattr(http, name, seconds.pop(name, LATE))
        assert not seconds

    put()
    return put


class Answers:
    """An application: `/huge` is much, anything else is "here", and no body is ever read."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytes(HUGE) if scope["path"] == "/huge" else b"here"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.ended.append(scope["path"])


class Counted:
    """Between Edge and the server: how much was handed on."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.sizes: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counting(message: Any) -> None:
            await send(message)
            self.sizes.append(len(message.get("body", b"")))

        await self.app(scope, receive, counting)


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """The port at which it is served, as `foreshock serve` does."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Http, ws="none", log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def is_cut_off(line: socket.socket) -> bool:
    """True once the other side has ended it."""
    try:
        while line.recv(65536):
            pass
    except ConnectionError:
        pass
    return True  # else recv has raised that it took too long


def ask(line: socket.socket, path: str = "/") -> bytes:
    line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return heard(line)


def heard(line: socket.socket) -> bytes:
    """The next answer, which ends in "here"."""
    said = b""
    while not said.endswith(b"here"):
        piece = line.recv(65536)
        assert piece, said
        said += piece
    return said


def until(held: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not held():
        assert time.monotonic() < end
        time.sleep(0.01)


def drip(line: socket.socket, piece: bytes) -> None:
    """Send it again and again until nobody takes it."""
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            line.sendall(piece)
            time.sleep(0.02)
    except OSError:
        return
    raise AssertionError("still taken")


def test_whoever_says_nothing_is_cut_off_and_who_asks_is_not(clocks):
    clocks(HEAD_SECONDS=SOON)
    with listening(Answers()) as port, connect(port) as silent, connect(port) as asking:
        for _ in range(20):  # the clock of a head begins anew with each request
            assert b"200 OK" in ask(asking)
            time.sleep(SOON / 10)
        assert is_cut_off(silent)


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_that_comes_a_letter_at_a_time_is_cut_off(clocks, before):
    clocks(HEAD_SECONDS=SOON)
    with listening(Answers()) as port, connect(port) as line:
        if before:
            assert ask(line)
        line.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        drip(line, b"y")


def test_a_body_that_goes_on_after_its_answer_is_cut_off(clocks):
    clocks(REST_SECONDS=SOON)
    with listening(Answers()) as port, connect(port) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        drip(line, b"1\r\nx\r\n")


def test_what_is_left_of_a_body_may_come_and_the_connection_serves_on(clocks):
    with listening(Answers()) as port, connect(port) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert heard(line)
        line.sendall(b"z" * 100_000)
        assert b"200 OK" in ask(line)


def test_whoever_does_not_read_is_cut_off_and_costs_a_piece_of_memory(clocks):
    clocks(STALL_SECONDS=SOON)
    answers = Answers()
    counted = Counted(Edge(answers, 1))
    with listening(counted) as port, connect(port) as stuck, connect(port) as asking:
        stuck.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: sum(counted.sizes) > PIECE)
        assert max(counted.sizes) <= PIECE
        assert b"200 OK" in ask(asking)
        until(lambda: "/huge" in answers.ended)  # what is sent to nobody is not waited for
        assert is_cut_off(stuck)


def test_whoever_reads_gets_all_of_it(clocks):
    with listening(Counted(Edge(Answers(), 1))) as port, connect(port) as line:
        line.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = bytearray()
        while piece := line.recv(2**20):
            said += piece
    assert len(said.partition(b"\r\n\r\n")[2]) == HUGE


def test_more_connections_than_there_is_room_for_are_refused_and_room_comes_back(clocks, monkeypatch):
    monkeypatch.setattr(http, "most_connections", lambda: 2)
    with listening(Answers()) as port:
        with connect(port) as first, connect(port) as second:
            assert ask(first)
            assert ask(second)
            with connect(port) as third:
                assert is_cut_off(third)
            assert ask(first)

        def there_is_room() -> bool:
            try:
                with connect(port) as line:
                    return b"200 OK" in ask(line)
            except (ConnectionError, AssertionError):
                return False

        until(there_is_room)


def test_there_is_room_for_many():
    assert http.most_connections() >= 64


def test_a_body_that_does_not_come_is_told_and_a_stream_only_ends(monkeypatch):
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.05)
    heard: list[Any] = []

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/live":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                heard.append(await receive())
                if heard[-1]["type"] == "http.disconnect":
                    return
        except HTTPException as error:
            heard.append(error)

    async def one_letter() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def nobody(_message: Any) -> None:
        pass

    for path in ("/api/v1/channels", "/live"):
        scope = {"type": "http", "path": path, "raw_path": b"/", "query_string": b"", "headers": []}
        asyncio.run(Edge(patient, 10**6)(scope, one_letter, nobody))
        told = heard[-1]
        assert getattr(told, "status_code", None) == (503 if path != "/live" else None)
        assert path != "/live" or told == {"type": "http.disconnect"}


def test_a_body_is_as_long_as_its_address_allows():
    assert edge.limit_of("/api/v1/session") == 8 * 1024
    assert edge.limit_of("/api/v1/runs/r/blocks") is None
    whole, small, other = (edge.limit_of(f"/api/v1/{path}") for path in ("runs/r", "keys", "else/where"))
    assert whole is not None
    assert small is not None
    assert other is not None
    assert 8 * 1024 < small < other < whole < 2**24
    for path in ("/api/v1/channels/a", "/api/v1/projects/a/b", "/api/v1/runs/r/attempts/1/finish"):
        assert edge.limit_of(path) == small
