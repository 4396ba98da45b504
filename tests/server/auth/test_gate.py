"""Without a key only our own hosts are answered; with one, only those who know it, and no other site's page."""

from __future__ import annotations

import asyncio

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from foreshock_server.app import create_app
from foreshock_server.auth.gate import Gate, cookie_of
from foreshock_server.auth.keys import COOKIE, LIFETIME
from foreshock_server.auth.limits import Limits
from foreshock_server.settings import Settings

KEY = "a-key-of-the-server"


@pytest.fixture
def database_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'foreshock.db'}"


@pytest.fixture
def locked(migrated_url: str, settings: Settings):
    """A server with a key."""
    with TestClient(create_app(Settings(**{**settings.model_dump(), "api_key": KEY}))) as client:
        yield client


@pytest.fixture
def bare(migrated_url: str, settings: Settings):
    """A server with neither key nor public address."""
    app = create_app(settings.model_copy(update={"public_url": None}))
    with TestClient(app, base_url="http://127.0.0.1:8642") as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": KEY}, 401),
        ({"Authorization": f"Bearer {KEY}x"}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": b"Bearer \xff\xfe"}, 401),
        ({"Cookie": f"{COOKIE}=99999999999.00"}, 401),
        ({"Cookie": f"{COOKIE}=\xb2.00".encode("latin-1")}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": f"bearer {KEY}"}, 200),
    ],
)
def test_every_question_needs_the_key(locked, headers, status):
    for path in ("/api/v1/runs", "/metrics"):
        answer = locked.get(path, headers=headers)
        assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"] == "Unauthorized"


def test_every_route_of_the_api_needs_the_key(locked):
    for path, operations in locked.app.openapi()["paths"].items():
        for method in operations:
            answer = locked.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401 or path == "/api/v1/session", f"{method} {path}"


def test_health_and_the_page_need_no_key(locked):
    assert locked.get("/healthz").status_code == 200
    assert locked.get("/openapi.json").status_code == 200


def test_a_key_becomes_a_cookie_that_scripts_cannot_read(locked):
    before = locked.get("/api/v1/session").json()
    assert (before["needed"], before["open"], before["scopes"]) == (True, False, [])
    wrong = locked.post("/api/v1/session", json={"key": "guess"})
    assert (wrong.status_code, COOKIE in locked.cookies) == (401, False)
    answer = locked.post("/api/v1/session", json={"key": KEY})
    said = answer.headers["set-cookie"]
    assert all(word in said for word in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={LIFETIME}"))
    assert KEY not in said
    assert locked.get("/api/v1/runs").status_code == 200
    after = locked.get("/api/v1/session").json()
    assert (after["needed"], after["open"], after["scopes"]) == (True, True, ["admin", "ingest", "read"])
    locked.delete("/api/v1/session")
    assert locked.get("/api/v1/runs").status_code == 401


def test_the_cookie_is_secure_where_the_page_is(migrated_url, settings):
    public = settings.model_copy(update={"public_url": "https://foreshock.example"})
    with TestClient(create_app(Settings(**{**public.model_dump(), "api_key": KEY}))) as client:
        assert "Secure" in client.post("/api/v1/session", json={"key": KEY}).headers["set-cookie"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),  # let in: the body is what is wrong
        ({"Origin": "http://testserver"}, 422),
        ({"Sec-Fetch-Site": "same-origin"}, 422),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_another_site_cannot_change_anything_with_our_cookie(locked, client, headers, status):
    locked.post("/api/v1/session", json={"key": KEY})
    for one in (locked, client):  # with a cookie; and without any key, where loopback is the only wall
        assert one.put("/api/v1/runs/x", json={}, headers=headers).status_code == status


def test_a_program_with_the_key_may_come_from_anywhere(locked):
    headers = {"Authorization": f"Bearer {KEY}", "Origin": "https://elsewhere.example"}
    assert locked.put("/api/v1/runs/x", json={}, headers=headers).status_code == 422


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8642", 200),
        ("localhost:8642", 200),
        ("LOCALHOST", 200),
        ("127.8.9.1", 200),
        ("[::1]:8642", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.7:8642", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_without_a_key_another_name_for_this_machine_is_refused(bare, host, status):
    for path in ("/api/v1/runs", "/healthz"):
        assert bare.get(path, headers={"Host": host}).status_code == status


def test_the_public_address_is_our_own_name(client):
    assert client.get("/api/v1/runs", headers={"Host": "testserver"}).status_code == 200
    assert client.get("/api/v1/runs", headers={"Host": "testserver.evil.example"}).status_code == 403


def test_a_refusal_has_the_headers_too(bare):
    answer = bare.get("/", headers={"Host": "evil.example"})
    assert "FORESHOCK_PUBLIC_URL" in answer.json()["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("line", "token"),
    [
        (f"{COOKIE}=abc-_9", "abc-_9"),
        (f"a=b; {COOKIE}=abc ;c=d", "abc"),
        (f"x{COOKIE}=abc", ""),
        (f'{COOKIE}="abc"', ""),
        (f"{COOKIE}=a b", ""),
        (f"{COOKIE}=" + "a" * 101, ""),
        ("a=" * 15_000, ""),
        ("", ""),
    ],
)
def test_the_cookie_of_a_session_is_found(line, token):
    assert cookie_of(Headers({"cookie": line})) == token


def test_nobody_behind_the_gate_sees_the_cookies_of_others(locked):
    """Reading 30 KB of backslashes as a cookie takes Python's library seconds, and FastAPI reads them all."""
    seen = []

    async def heard(scope, receive, send):
        seen.append([value for name, value in scope["headers"] if name == b"cookie"])

    state = locked.app.state
    gate = Gate(heard, state.settings, state.database, state.keyring, Limits(state.settings))
    for line in (b'a="' + b"\\" * 30_000 + b'"', b"a=b; %s=abc; c=d" % COOKIE.encode()):
        headers = [(b"host", b"testserver"), (b"cookie", line), (b"cookie", b"e=f")]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": None}
        asyncio.run(gate(scope, None, None))
    assert seen == [[], [f"{COOKIE}=abc".encode()]]
