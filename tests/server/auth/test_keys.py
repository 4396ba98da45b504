"""Keys are random, kept as hashes, shown once and revoked at once; their use is noted without a write per request."""

from __future__ import annotations

import asyncio
import re
import threading
import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, select

from foreshock_server.app import create_app
from foreshock_server.auth.keyring import Keyring
from foreshock_server.auth.keys import digest, mint, read_key, same
from foreshock_server.models import Key
from foreshock_server.settings import Settings
from foreshock_server.store import keys as store_keys


def test_a_key_can_be_found_in_a_text_and_is_never_made_twice():
    made = [mint() for _ in range(200)]
    assert len({one.text for one in made}) == len({one.id for one in made}) == 200
    for one in made:
        assert re.fullmatch(r"fsk_[a-z0-9]{12}_[A-Za-z0-9]{43}", one.text)
        found = read_key(one.text)
        assert found is not None
        assert (found[0], digest(found[1])) == (one.id, one.digest)
        assert found[1] not in one.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fsk_",
        "fsk__",
        "fsk_abc_def",
        "FSK_aaaaaaaaaaaa_" + "x" * 43,
        "fsk_aaaaaaaaaaaa_" + "x" * 44,
        "é" * 60,
    ],
)
def test_what_is_no_key_is_not_read_as_one(text):
    assert read_key(text) is None


def test_comparison_takes_any_text():
    assert same("é\udcff", "é\udcff")
    assert not same("a", "é\udcff")


def test_keys_over_http_are_shown_once_and_never_again(house):
    wish = {"name": "node-7", "scopes": ["ingest", "read", "ingest"], "project": "grpo"}
    made = house.ask("admin", "POST", "/keys", json=wish)
    assert made.status_code == 201
    key = made.json()
    assert (key["scopes"], key["project"], key["used_at"], key["revoked_at"]) == (
        ["ingest", "read"],
        "grpo",
        None,
        None,
    )
    secret = key["key"].rpartition("_")[2]
    listed = house.ask("admin", "GET", "/keys")
    assert secret not in listed.text
    assert digest(secret) not in listed.text
    assert {one["id"] for one in listed.json()["keys"]} >= {key["id"]}
    with house.client.app.state.database.reading() as session:
        row = session.get_one(Key, key["id"])
        kept = {column: getattr(row, column) for column in Key.__mapper__.column_attrs.keys()}  # noqa: SIM118 (no dict)
    assert secret not in repr(kept)
    assert row.digest == digest(secret)
    house.texts["new"] = key["key"]
    assert house.ask("new", "GET", "/runs").status_code == 200, "it holds at once"


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": "a\nb", "scopes": ["read"]}, "name"),
        ({"name": "a\u202eb", "scopes": ["read"]}, "name"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["root"]}, "scopes.0"),
        ({"name": "a", "scopes": ["read"], "project": ""}, "project"),
        ({"name": "a", "scopes": ["read"], "secret": "mine"}, "secret"),
    ],
)
def test_a_wrong_wish_is_named(house, wish, field):
    answer = house.ask("admin", "POST", "/keys", json=wish)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_revoked_key_ends_at_once_and_saying_it_twice_is_harmless(house):
    assert house.ask("read", "GET", "/runs").status_code == 200
    first = house.ask("admin", "DELETE", f"/keys/{house.ids['read']}")
    assert first.status_code == 200
    assert first.json()["revoked_at"] is not None
    refused = house.ask("read", "GET", "/runs")
    assert refused.status_code == 401
    assert "revoked" in refused.json()["detail"]
    assert house.ask("admin", "DELETE", f"/keys/{house.ids['read']}").json() == first.json()
    assert house.ask("admin", "DELETE", "/keys/nobody").status_code == 404
    listed = house.ask("admin", "GET", "/keys").json()["keys"]
    assert listed[-1]["id"] == house.ids["read"], "those revoked come last"


def test_a_key_revoked_by_another_process_ends_within_seconds(house, settings):
    other = create_app(Settings(**{**settings.model_dump(), "api_key": "the-key-of-the-settings"}))
    with TestClient(other) as client:
        assert client.get("/api/v1/runs", headers=house.headers("read")).status_code == 200
        house.ask("admin", "DELETE", f"/keys/{house.ids['read']}")
        until = time.monotonic() + 30
        while client.get("/api/v1/runs", headers=house.headers("read")).status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.get("/api/v1/runs", headers=house.headers("admin")).status_code == 200


def test_a_key_made_by_another_process_holds_at_once(house, settings):
    other = create_app(Settings(**{**settings.model_dump(), "api_key": "the-key-of-the-settings"}))
    with TestClient(other) as client:
        assert client.get("/api/v1/runs", headers=house.headers("read")).status_code == 200
        time.sleep(0.3)  # longer than between two looks for a key that is not known
        made = house.ask("admin", "POST", "/keys", json={"name": "n", "scopes": ["read"]}).json()
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert client.get("/api/v1/runs", headers=headers).status_code == 200


@pytest.mark.parametrize("change", ["other secret", "other id", "no id"])
def test_only_the_whole_key_holds(house, change):
    text = house.texts["read"]
    _, key_id, secret = text.split("_")
    house.texts["wrong"] = {
        "other secret": f"fsk_{key_id}_{secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}",
        "other id": f"fsk_{house.ids['admin']}_{secret}",
        "no id": secret,
    }[change]
    assert house.ask("wrong", "GET", "/runs").status_code == 401


def statements(database):
    seen: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    return seen


def test_use_is_noted_to_the_minute_without_a_write_per_request(house):
    state = house.client.app.state
    seen = statements(state.database)
    for _ in range(50):
        assert house.ask("read", "GET", "/rules").status_code == 200
    state.keyring.look()
    state.keyring.look()
    for _ in range(50):
        house.ask("read", "GET", "/rules")
    state.keyring.look()
    assert sum(statement.startswith("UPDATE keys") for statement in seen) <= 2  # two when the minute turned
    with state.database.reading() as session:
        used = session.scalar(select(Key.used_at).where(Key.id == house.ids["read"]))
        never = session.scalar(select(Key.used_at).where(Key.id == house.ids["read-mine"]))
    assert used is not None
    assert used % 60 == 0
    assert abs(time.time() - used) < 600
    assert never is None


def test_a_request_costs_no_query_for_its_key(house):
    house.ask("read", "GET", "/rules")
    house.client.app.state.keyring.look()
    seen = statements(house.client.app.state.database)
    began = time.monotonic()
    for _ in range(20):
        house.ask("read", "GET", "/rules")
    took = time.monotonic() - began
    assert sum("FROM keys" in statement for statement in seen) <= 1 + took / 2.0


def test_wrong_keys_cost_few_queries_however_many_are_tried(house):
    seen = statements(house.client.app.state.database)
    began = time.monotonic()
    for _ in range(60):
        house.texts["guess"] = mint().text
        assert house.ask("guess", "GET", "/runs").status_code in (401, 429)
    took = time.monotonic() - began
    assert sum("FROM keys" in statement for statement in seen) <= 2 + took / 0.25
    assert house.ask("read", "GET", "/runs").status_code == 200


def test_the_first_key_locks_the_door_and_the_last_one_revoked_leaves_it_locked(client):
    assert client.get("/api/v1/runs").status_code == 200
    made = client.post("/api/v1/keys", json={"name": "first", "scopes": ["admin"]}).json()
    assert client.get("/api/v1/runs").status_code == 401
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert client.get("/api/v1/runs", headers=headers).status_code == 200
    assert client.get("/", headers={"Host": "any.example"}).status_code == 200, "names matter no more"
    client.delete(f"/api/v1/keys/{made['id']}", headers=headers)
    assert client.get("/api/v1/runs", headers=headers).status_code == 401
    assert client.get("/api/v1/runs").status_code == 401


def test_a_key_holds_while_the_database_is_away_for_a_moment(house, monkeypatch):
    from sqlalchemy.exc import OperationalError

    from foreshock_server.auth import keyring

    assert house.ask("read", "GET", "/rules").status_code == 200
    ring = house.client.app.state.keyring

    def away(*_args: object) -> None:
        raise OperationalError("SELECT", {}, Exception("password=hunter2 is refused"))

    monkeypatch.setattr("foreshock_server.store.keys.known", away)
    ring.look()
    assert house.ask("read", "GET", "/rules").status_code == 200
    monkeypatch.setattr(keyring, "LONGEST", 0.0)
    answer = house.ask("read", "GET", "/rules")
    assert (answer.status_code, answer.json()["error"]) == (503, "DatabaseAway")
    assert float(answer.headers["retry-after"]) > 0
    assert "hunter2" not in answer.text
    assert house.ask("boot", "GET", "/rules").status_code == 200, "the key of the settings needs no database"
    assert house.client.get("/healthz").status_code == 200


def test_requests_that_come_during_the_first_look_wait_for_it(database, monkeypatch):
    looking, seen, known = threading.Event(), threading.Event(), store_keys.known

    def slow(session, now):
        looking.set()
        assert seen.wait(30)
        return known(session, now)

    monkeypatch.setattr(store_keys, "known", slow)
    keyring = Keyring(database, None)

    async def ask() -> list[bool]:
        first = asyncio.create_task(keyring.locked())
        await asyncio.to_thread(looking.wait, 30)
        others = [asyncio.create_task(keyring.locked()) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert not any(one.done() for one in others)
        seen.set()
        return list(await asyncio.gather(first, *others))

    assert asyncio.run(ask()) == [False] * 6
