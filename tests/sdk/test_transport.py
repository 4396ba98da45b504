"""One request, one answer, on real sockets: kept alive, compressed, and never held longer than it said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from foreshock.send.transport import Answer, HttpTransport, Request, Undelivered

BODY = Request("PUT", "/api/v1/runs/r", b'{"attempt": 1}')


@pytest.fixture
def transport(server: Any) -> Iterator[HttpTransport]:
    transport = HttpTransport(server.url, "fs-key", user_agent="foreshock/test")
    yield transport
    transport.close()


def test_an_answer_is_read_with_its_status_and_its_body(transport: HttpTransport, server: Any) -> None:
    assert transport.exchange(BODY) == Answer(200, {"run": "r", "attempt": 1, "url": "memory:///runs/r"})
    missing = transport.exchange(Request("POST", "/api/v1/runs/other/blocks?floor=1", b""))
    assert (missing.status, missing.body["error"]) == (404, "UnknownRun")
    assert server.headers[0]["Authorization"] == "Bearer fs-key"
    assert server.headers[0]["User-Agent"] == "foreshock/test"


def test_one_connection_serves_many_requests(transport: HttpTransport, server: Any) -> None:
    for _ in range(20):
        transport.exchange(BODY)
    assert server.connections == 1


LARGE = Request("PUT", "/api/v1/runs/r", b'{"attempt": 1, "config": "' + b"x" * 5000 + b'"}')


def test_nothing_is_compressed_for_a_server_on_this_machine(transport: HttpTransport, server: Any) -> None:
    assert transport.exchange(LARGE).status == 200
    assert server.headers[0].get("Content-Encoding") is None
    assert server.memory.runs["r"]["config"] == "x" * 5000


def test_large_bodies_are_compressed_and_small_ones_are_not(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foreshock.send.transport._is_local", lambda url: False)
    transport = HttpTransport(server.url)
    assert transport.exchange(LARGE).status == 200
    transport.exchange(BODY)
    transport.close()
    assert [headers.get("Content-Encoding") for headers in server.headers] == ["gzip", None]
    assert server.memory.runs["r"] == {"attempt": 1}
    assert int(server.headers[0]["Content-Length"]) < 200


@pytest.mark.parametrize("local", [True, False])
def test_what_shall_be_checked_goes_with_the_checksum_of_the_plain_body(
    server: Any, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    monkeypatch.setattr("foreshock.send.transport._is_local", lambda url: local)
    transport = HttpTransport(server.url)
    transport.exchange(BODY)
    transport.exchange(replace(LARGE, checked=True))
    transport.close()
    left = 0xFFFFFFFF  # CRC-32 by its definition: a division of polynomials, bit by bit
    for byte in LARGE.body:
        left ^= byte
        for _ in range(8):
            left = (left >> 1) ^ (0xEDB88320 if left & 1 else 0)
    want = f"{left ^ 0xFFFFFFFF:08x}"
    assert [headers.get("Foreshock-CRC32") for headers in server.headers] == [None, want]


@pytest.mark.parametrize("mode", ["trickles body", "trickles head", "silent"])
def test_a_server_that_never_finishes_is_given_up_at_the_deadline(
    transport: HttpTransport, server: Any, mode: str
) -> None:
    server.mode = mode
    started = time.monotonic()
    with pytest.raises(Undelivered):
        transport.exchange(BODY, seconds=0.7)
    assert 0.5 < time.monotonic() - started < 5
    server.mode = "well"
    assert transport.exchange(BODY).status == 200, "the next request has a connection of its own"


@pytest.mark.parametrize("mode", ["reset while it sends", "stores but resets"])
def test_a_broken_connection_is_no_answer_and_the_next_request_works(
    transport: HttpTransport, server: Any, mode: str
) -> None:
    server.mode = mode
    with pytest.raises(Undelivered, match=r"^(Connection reset by peer|Broken pipe|RemoteDisconnected: .*)$"):
        transport.exchange(BODY)
    server.mode = "well"
    assert transport.exchange(BODY).status == 200


def test_nobody_there_is_said_in_words(nobody: str) -> None:
    with pytest.raises(Undelivered, match=r"^Connection refused$"):
        HttpTransport(nobody).exchange(BODY)


def test_a_name_that_does_not_resolve_is_said_in_words() -> None:
    with pytest.raises(Undelivered, match=r"resol|Name or service|name resolution"):
        HttpTransport("http://nothing.invalid:1").exchange(BODY)


def test_an_endless_answer_is_not_read_to_its_end(transport: HttpTransport, server: Any) -> None:
    server.mode = "endless"
    with pytest.raises(Undelivered, match="longer than"):
        transport.exchange(BODY)


@pytest.mark.parametrize(("mode", "status"), [("fails", 500), ("redirects", 301), ("portal", 200)])
def test_an_answer_that_is_no_json_is_a_status_alone(
    transport: HttpTransport, server: Any, mode: str, status: int
) -> None:
    server.mode = mode
    assert transport.exchange(BODY) == Answer(status)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("soon", None)]
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    transport: HttpTransport, server: Any, header: str, seconds: float | None
) -> None:
    server.mode, server.retry_after = "too fast", header
    assert transport.exchange(BODY) == Answer(429, {}, seconds)


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    server: Any, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", nobody)
    assert HttpTransport(server.url).exchange(BODY).status == 200


def test_a_proxy_of_the_environment_is_used_for_others(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.mode = "fails"
    assert HttpTransport("http://foreshock.example:8642").exchange(BODY).status == 500
    assert server.arrivals[0][1] == "PUT http://foreshock.example:8642/api/v1/runs/r"
