"""A page session is worth what its key is worth, and ends with it, with its time, and at a sign-out."""

from __future__ import annotations

import asyncio
import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from foreshock_server.app import create_app
from foreshock_server.auth.keys import COOKIE, LIFETIME, digest
from foreshock_server.deps import Access
from foreshock_server.models import PageSession
from foreshock_server.query import live
from foreshock_server.settings import Settings
from foreshock_server.store import keys as store


def sign_in(house, who):
    return house.client.post("/api/v1/session", json={"key": f" {house.texts[who]}\n"})


@pytest.mark.parametrize("who", ["read", "admin", "read-mine", "admin-mine", "boot"])
def test_a_session_may_what_its_key_may(house, who):
    opened = sign_in(house, who)
    assert opened.status_code == 200
    state = house.client.get("/api/v1/session").json()
    assert state == opened.json()
    assert state["project"] == ("mine" if "mine" in who else None)
    assert house.client.get("/api/v1/runs").status_code == 200
    assert house.client.get("/api/v1/keys").status_code == (200 if who in ("admin", "boot") else 403)
    assert house.open("nobody", "r", "mine").status_code == (403 if "read" in who else 200)


def test_what_is_wrong_with_a_key_is_told(house):
    half = house.client.post("/api/v1/session", json={"key": house.texts["read"][:-4]})
    assert (half.status_code, "part of this key is missing" in half.json()["detail"]) == (401, True)
    sender = sign_in(house, "ingest")
    assert (sender.status_code, "scope read" in sender.json()["detail"]) == (403, True)
    assert COOKIE not in house.client.cookies
    house.ask("admin", "DELETE", f"/keys/{house.ids['read']}")
    assert "revoked" in sign_in(house, "read").json()["detail"]


def test_a_session_ends_with_its_key(house):
    sign_in(house, "read")
    assert house.client.get("/api/v1/runs").status_code == 200
    house.ask("boot", "DELETE", f"/keys/{house.ids['read']}", headers={"Cookie": ""})
    assert house.client.get("/api/v1/runs").status_code == 401
    assert house.client.get("/api/v1/session").json()["open"] is False


def test_a_session_ends_at_a_sign_out_also_for_who_kept_the_cookie(house):
    sign_in(house, "boot")
    kept = house.client.cookies[COOKIE]
    assert house.client.delete("/api/v1/session").json()["open"] is False
    assert COOKIE not in house.client.cookies
    again = house.client.get("/api/v1/runs", headers={"Cookie": f"{COOKIE}={kept}"})
    assert again.status_code == 401


def test_a_session_ends_with_its_time(house):
    sign_in(house, "read")
    state = house.client.app.state
    with state.database.writing() as session:
        (row,) = session.scalars(select(PageSession)).all()
        assert abs(row.expires_at - row.created_at - LIFETIME) < 1
        session.execute(update(PageSession).values(expires_at=time.time() - 1))
    state.keyring.look()
    assert house.client.get("/api/v1/runs").status_code == 401
    sign_in(house, "read")
    with state.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(PageSession)) == 1, "what is over is forgotten"


def test_a_session_of_the_settings_ends_when_their_key_changes(house, settings):
    sign_in(house, "boot")
    cookie = {COOKIE: house.client.cookies[COOKIE]}
    for key, status in (("the-key-of-the-settings", 200), ("another-key-of-the-settings", 401)):
        changed = Settings(**{**settings.model_dump(), "api_key": key})
        with TestClient(create_app(changed), cookies=cookie) as client:
            assert client.get("/api/v1/runs").status_code == status


def test_what_is_kept_of_a_session_opens_nothing(house):
    sign_in(house, "read")
    token = house.client.cookies[COOKIE]
    with house.client.app.state.database.reading() as session:
        (row,) = session.scalars(select(PageSession)).all()
    assert row.digest == digest(token)
    assert token not in (row.digest, row.key_id)
    house.client.cookies.clear()
    for stolen in (row.digest, row.key_id, f"{row.key_id}.{row.digest}"):
        headers = {"Cookie": f"{COOKIE}={stolen}"}
        assert house.client.get("/api/v1/runs", headers=headers).status_code == 401


def test_a_key_has_so_many_sessions_and_the_oldest_end_first(house, monkeypatch):
    monkeypatch.setattr(store, "SESSIONS_OF_A_KEY", 3)
    cookies = []
    for _ in range(5):
        house.client.cookies.clear()
        sign_in(house, "read")
        cookies.append(house.client.cookies[COOKIE])
    house.client.cookies.clear()
    statuses = [
        house.client.get("/api/v1/runs", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code
        for cookie in cookies
    ]
    assert statuses == [401, 401, 200, 200, 200]


def test_an_open_stream_ends_with_its_key(house):
    holding = [True, True, False]

    async def holds() -> bool:
        return holding.pop(0)

    async def listen() -> list[str]:
        access = Access("k", frozenset({"read"}), holds=holds)
        return [piece async for piece in live._events(house.client.app.state.listeners, "r", list, access)]

    assert asyncio.run(asyncio.wait_for(listen(), 30)) == ["retry: 1000\n\n"]
    assert holding == []
