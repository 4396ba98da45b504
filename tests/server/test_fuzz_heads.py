"""Hostile headers and query strings, on every address that is read: never a 5xx, never a hang, never an answer of another shape.

The seeds are fixed; FORESHOCK_TEST_FUZZ=20000 tries more of them.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from foreshock_server.app import create_app
from foreshock_server.settings import Settings

SEEDS = int(os.environ.get("FORESHOCK_TEST_FUZZ", "200"))
PATIENCE = 60  # seconds until a request counts as a hang
KEY = "a-key-of-the-server"
KNOWN = {"run": "run-1", "name": "policy", "project": "p", "statistic": "policy_entropy", "attempt": "1"}
HEADERS = [
    "Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Type", "Cookie", "Expect", "Forwarded",
    "Host", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Last-Event-ID", "Origin", "Range", "Referer",
    "Sec-Fetch-Site", "Sec-WebSocket-Key", "Upgrade", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID",
]  # fmt: skip
PATHS = ["/api/v1/runs", "/", "/metrics"]
VALUES = [
    "", " ", "*", "*/*", ",", ";", "=", ";=,", '"', "\\", "[", "]", "[::1", "%", "%00", "nan", "inf", "-1", "1e999", "0x10", "1_000", "null",
    "\xb2", "\xff\xfe", "\x7f", "\xa0", "0" * 5000, "9" * 5000, "a" * 20_000, "\\" * 20_000, '"' * 20_000, "a=" * 10_000, ",;" * 10_000,
    'a="' + "\\" * 20_000 + '"', "bytes=0-", "bytes=-", "bytes=5-2", "bytes=" + "0-0," * 5000, "bytes=-" + "9" * 4400, "bytes=\xb2-",
    "bytes=0-1,\xb2", "Mon, 99 Abc 99999999999 99:99:99 GMT", "Thu, 01 Jan 1970 00:00:00 +" + "9" * 5000, 'W/"' + "x" * 9000, "gzip;q=nan",
    "gzip;q=1;q=2", "text/plain;version=x", "text/plain;version=1.0.x;escaping=y", "application/openmetrics-text;version=1.x",
    "application/openmetrics-text;version=2.0.x", "application/vnd.apache.arrow.stream", "application/json; charset=\xff",
    "application/json; charset=utf-7", "application/json; a*=utf-9'x'%zz; a*0*=b", "multipart/form-data", "http://[", "http://[::1]:99999999",
    "websocket", "h2c", "100-continue", "Bearer", "Bearer " + "x" * 9000, "bearer fsk__", "Basic \xff", "for=\"[\";by=;", "same-origin", "none",
]  # fmt: skip
WORDS = [
    "", " ", "nan", "inf", "-inf", "1e999", "-0", "+1", " 7 ", "1_000", "0x10", "٣", "²", "½", "true", "null", "[]", "{}", "9" * 4400, "1" * 20, "-" + "9" * 19,
    str(2**63), str(2**63 - 1), str(-(2**63)), "0", "1.5", "%", "*", "*a" * 90, "[" * 190, "[z-a]", "[!]", "?" * 200, "\ud7ff", "\U0001f4a5" * 40, "a\u0301",
    "\u200b", "\u202e", "\ufeff", "x" * 3000, "1~r", "1~" + "r" * 64, "999999999999999.999999999~r", "policy_entropy", "loss", "loss{place=", "dark", "../..",
]  # fmt: skip


@pytest.fixture
def database_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'foreshock.db'}"


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Whatever takes a minute never ends."""

    def hangs(_signal: int, _frame: object) -> None:
        raise TimeoutError("this request hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def questions(client, trainer, wire) -> list[tuple[str, list[str]]]:
    """The address of everything that can be read, with the names of its parameters; of a run that has readings."""
    names = ["policy_entropy", "loss"]
    trainer.send(1, [wire.rows(1, range(50), [[i, float("nan")] for i in range(50)])], [wire.frame(1, names)])
    client.app.state.listeners.closing = True  # streams end at once
    found = [
        ("/", []),
        ("/app.js", []),
        ("/metrics", []),
        ("/openapi.json", []),
        ("/docs", []),
        ("/nowhere", []),
    ]
    for path, operations in client.app.openapi()["paths"].items():
        if "get" in operations:
            wanted = [one["name"] for one in operations["get"].get("parameters", ()) if one["in"] == "query"]
            for name, value in KNOWN.items():
                path = path.replace("{" + name + "}", value)
            found.append((path, wanted))
    return found


def judge(answer: Any, asked: object) -> None:
    assert answer.status_code < 500, (asked, answer.text[:500])
    if answer.status_code >= 400 and answer.headers.get("content-type") == "application/json":
        assert answer.json()["detail"], asked
        assert len(answer.content) < 10_000, asked


def ask(client: TestClient, path: str, headers: list[tuple[bytes, bytes]], params: Any = None) -> Any:
    signal.alarm(PATIENCE)
    answer = client.get(path, headers=headers, params=params, follow_redirects=False)
    signal.alarm(0)
    return answer


def test_no_header_is_a_fault_of_ours(client, questions, settings):
    """Both of a server without a key and of one that has one, with and without it."""
    locked = create_app(Settings(**{**settings.model_dump(), "api_key": KEY}))
    locked.state.listeners.closing = True
    with TestClient(locked, raise_server_exceptions=False) as guarded:
        for seed in range(SEEDS):
            chance = random.Random(seed)
            path, _ = chance.choice(questions)
            headers = [
                (name.encode(), chance.choice(VALUES).encode("latin-1"))
                for name in chance.choices(HEADERS, k=chance.choice([1, 1, 2, 5]))
            ]
            known = [(b"Authorization", f"Bearer {KEY}".encode())]
            for who, more in ((client, []), (guarded, []), (guarded, known)):
                judge(ask(who, path, [*more, *headers]), (seed, path, headers))


def test_each_value_in_each_header(client, questions):
    for name in HEADERS:
        for value in VALUES:
            for path in PATHS if name.startswith(("Accept", "If", "Range")) else PATHS[:1]:
                judge(ask(client, path, [(name.encode(), value.encode("latin-1"))]), (path, name, value[:80]))


def test_no_query_string_is_a_fault_of_ours(client, questions):
    for seed in range(SEEDS):
        chance = random.Random(seed)
        path, names = chance.choice([one for one in questions if one[1]])
        count = chance.choice([1, 1, 2, 4, 300])
        words = [word for word in WORDS if count < 300 or len(quote(word)) < 70]  # the client takes 64 KB
        pairs = [(chance.choice([*names, chance.choice(words)]), chance.choice(words)) for _ in range(count)]
        if path.endswith("/data"):
            pairs.append(("key", "loss"))
        judge(ask(client, path, [], pairs), (seed, path, pairs[:5]))
