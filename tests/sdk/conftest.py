"""What the SDK's tests share: a strict guard, an environment of our own, and a real server on loopback that can misbehave."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foreshock import guard
from foreshock.send.transport import Request
from foreshock.testing import MemoryTransport


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our own bugs end the test; nothing of the caller's settings or torchrun reaches it; what is said once is said per test."""
    for name in list(os.environ):
        if name.startswith("FORESHOCK_") and not name.startswith("FORESHOCK_TEST_"):
            monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    monkeypatch.setenv("FORESHOCK_DIR", str(tmp_path / "spool"))
    monkeypatch.setattr(guard, "_said", set())
    monkeypatch.setattr(guard, "_faults", {})


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard as users have it."""
    monkeypatch.delenv("FORESHOCK_STRICT")


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that we reset ourselves is no news."""


class Loopback:
    """The contract's server on a real socket. `mode` says how it behaves from the next request on."""

    def __init__(self) -> None:
        self.memory = MemoryTransport()
        self.mode = "well"
        self.retry_after = "1"
        self.arrivals: list[tuple[float, str]] = []  # when, and "METHOD path"
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._http = _Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    loopback: Loopback
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.loopback.connections += 1

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        loopback = self.loopback
        loopback.arrivals.append((time.monotonic(), f"{self.command} {self.path}"))
        loopback.headers.append(dict(self.headers.items()))
        if loopback.mode == "reset while it sends":
            self._reset()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        answer = getattr(self, "_" + loopback.mode.replace(" ", "_"))
        answer(lambda: loopback.memory.exchange(Request(self.command, self.path, body)))

    def do_PUT(self) -> None:
        self.do_POST()

    def _well(self, store: Callable[[], object]) -> None:
        answer = store()
        self._send(answer.status, json.dumps(answer.body).encode())  # type: ignore[attr-defined]

    def _stores_but_resets(self, store: Callable[[], object]) -> None:
        store()
        self._reset()

    def _fails(self, _store: object) -> None:
        self._send(500, b"Internal Server Error")

    def _too_fast(self, _store: object) -> None:
        self._send(429, b"{}", {"Retry-After": self.loopback.retry_after})

    def _redirects(self, _store: object) -> None:
        self._send(301, b"", {"Location": "https://elsewhere.example/"})

    def _portal(self, _store: object) -> None:
        self._send(200, b"<html>please log in</html>")

    def _endless(self, _store: object) -> None:
        self._send(200, b'{"run": "' + b"x" * 8 * 2**20 + b'"}')

    def _trickles_body(self, _store: object) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        self._trickle(b"{")

    def _trickles_head(self, _store: object) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._trickle(b"y")

    def _silent(self, _store: object) -> None:
        self.loopback.closing.wait(60)

    def _trickle(self, byte: bytes) -> None:
        try:
            while not self.loopback.closing.wait(0.05):
                self.wfile.write(byte)
        except OSError:
            pass
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = self.rfile = open(os.devnull, "r+b")  # type: ignore[assignment] # noqa: SIM115

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server on loopback that answers as the contract says, until it is told to misbehave."""
    loopback = Loopback()
    yield loopback
    loopback.close()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until something is so."""

    def wait(what: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.005)

    return wait
