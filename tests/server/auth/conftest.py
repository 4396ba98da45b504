"""A server with a key of every kind, and people who come with one of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from foreshock_server.app import create_app
from foreshock_server.auth.keys import mint
from foreshock_server.db import Database
from foreshock_server.settings import Settings
from foreshock_server.store import keys as store

BOOT = "the-key-of-the-settings"


def make_key(
    database: Database, scopes: Sequence[str], project: str | None = None, name: str = "a key"
) -> tuple[str, str]:
    """(id, text) of a new key."""
    minted = mint()
    with database.writing() as session:
        store.create_key(
            session,
            key_id=minted.id,
            digest=minted.digest,
            name=name,
            project=project,
            scopes=scopes,
            now=time.time(),
        )
    return minted.id, minted.text


class House:
    """One server, and headers for each kind of key."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.ids: dict[str, str] = {}
        self.texts: dict[str, str] = {"boot": BOOT}
        database = client.app.state.database
        for project in (None, "mine", "theirs"):
            for scopes in (["ingest"], ["read"], ["admin"]):
                name = "-".join([*scopes, *([project] if project else [])])
                self.ids[name], self.texts[name] = make_key(database, scopes, project, name)
        client.app.state.keyring.look()

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.texts[who]}"} if who != "nobody" else {}

    def ask(self, who: str, method: str, path: str, **more: Any) -> Any:
        headers = {**self.headers(who), **more.pop("headers", {})}
        return self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    def opening(self, project: str) -> dict[str, Any]:
        return {"project": project, "started_at": 1.79e9, "attempt": 1, "writer": "r0-aaaa"}

    def open(self, who: str, run: str, project: str) -> Any:
        return self.ask(who, "PUT", f"/runs/{run}", json=self.opening(project))


@pytest.fixture
def house(migrated_url: str, settings: Settings) -> Iterator[House]:
    app = create_app(Settings(**{**settings.model_dump(), "api_key": BOOT}))
    with TestClient(app) as client:
        yield House(client)
