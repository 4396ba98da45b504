"""What reaches the socket: a head without end, garbage, and a body that nobody may send, refused in a sentence and early."""

from __future__ import annotations

import json
import socket

import pytest

from foreshock_server.app.http import LONGEST_HEAD

LOCKED = {"FORESHOCK_API_KEY": "the-key-of-the-settings"}


@pytest.fixture(scope="module")
def port(wire, tmp_path_factory):
    served = wire.Served(tmp_path_factory.mktemp("server"), **LOCKED).start("--port", "0")
    yield int(served.url.rpartition(":")[2])
    assert served.stop() == 0
    assert "Traceback" not in served.output[1]


def talk(port: int, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """What comes back when these are sent, until the server has said enough."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        for piece in pieces:
            try:
                line.sendall(piece)
            except OSError:  # it has closed already, which is an answer
                break
        said = b""
        while b"\r\n\r\n" not in said or len(said.partition(b"\r\n\r\n")[2]) < _length(said):
            try:
                piece = line.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in rest)}
    return int(first.split()[1]), headers, body


def _length(said: bytes) -> int:
    for line in said.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def test_bytes_that_are_no_request_are_told_so(port):
    status, headers, body = talk(port, b"\x16\x03\x01 hello\r\n\r\n")
    assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
    assert "not a request" in json.loads(body)["detail"]


def test_a_head_without_end_is_cut_off(port):
    filler = [b"X-%d: " % number + b"y" * 4096 + b"\r\n" for number in range(LONGEST_HEAD // 4096 + 20)]
    status, _, body = talk(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", *filler)
    assert status in (400, 431)
    assert "64 KiB" in json.loads(body)["detail"] or "headers" in json.loads(body)["detail"]


@pytest.mark.parametrize("length", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
def test_a_body_without_a_key_is_refused_before_it_is_sent(port, length):
    head = b"POST /api/v1/runs/r/blocks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    status, headers, _ = talk(port, head + length + b"\r\n\r\n")  # and not a byte more
    assert (status, headers["www-authenticate"]) == (401, "Bearer")


def test_a_length_that_is_too_large_is_refused_before_it_is_sent(port):
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    for length in (9000, 10**12):
        assert talk(port, head % length)[0] == 413


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT example.org:80 HTTP/1.1",
        b"GET http://127.0.0.1/api/v1/runs HTTP/1.1",
        b"GET //api/v1/runs HTTP/1.1",
        b"GET /api/v1/../v1/runs HTTP/1.1",
        b"GET /%61pi/v1/runs HTTP/1.1",
        b"GET /api/v1/runs;a=b HTTP/1.1",
        b"GET /api/v1/runs#x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"TRACE /api/v1/runs HTTP/1.1",
        b"get /api/v1/runs HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"GET /\xff\xfe HTTP/1.1",
        b"GET /%ff%fe HTTP/1.1",
    ],
)
@pytest.mark.parametrize(
    "more",
    [b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"],
)
def test_no_way_to_write_an_address_lets_anybody_in_or_is_a_fault_of_ours(port, line, more):
    head = line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + more + b"\r\n"
    status, headers, body = talk(port, head)
    assert 400 <= status < 500, body
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["detail"]


@pytest.mark.parametrize("length", [b"\xb2", b"+5", b"-1", b"1e3", b"5, 6", b"0x10", b"9" * 5000])
def test_a_length_that_is_no_number_is_no_request(port, length):
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + length + b"\r\n\r\n"
    assert talk(port, head)[0] in (400, 413)


def test_a_body_with_two_lengths_is_no_request(port):
    """Where two servers would count differently, one request could hide in another."""
    for more in (b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 5\r\nTransfer-Encoding: gzip"):
        head = b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\n" + more + b"\r\n\r\nhello"
        assert talk(port, head)[0] in (400, 501)
