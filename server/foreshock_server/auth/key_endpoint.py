"""Keys over HTTP: listed without their secrets, made with the one answer that shows it, revoked at once."""

from __future__ import annotations

import time
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server import models
from foreshock_server.auth.keys import mint
from foreshock_server.deps import PLAIN, Asking, Reading
from foreshock_server.store import keys

router = APIRouter(tags=["keys"])


class NewKey(BaseModel):
    """A key as a person describes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=100, pattern=PLAIN)
    scopes: list[Literal["ingest", "read", "admin"]] = Field(
        min_length=1, max_length=3, description="admin includes the others"
    )
    project: str | None = Field(
        None, min_length=1, max_length=200, pattern=PLAIN, description="only this project's runs; null: all"
    )


@router.get("/keys")
def list_keys(session: Reading) -> dict[str, Any]:
    """Every key, without its secret: those that hold first, then those revoked."""
    return {"keys": [shown(key) for key in keys.list_keys(session)]}


@router.post("/keys", status_code=201)
def create_key(request: Request, wish: NewKey) -> dict[str, Any]:
    """The new key; `key` is the text to use, and is shown in this answer only."""
    minted = mint()
    with request.app.state.database.writing() as session:
        row = keys.create_key(
            session,
            key_id=minted.id,
            digest=minted.digest,
            name=wish.name,
            project=wish.project,
            scopes=sorted(set(wish.scopes)),
            now=time.time(),
        )
    request.app.state.keyring.look()
    return {**shown(row), "key": minted.text}


@router.delete("/keys/{key_id}")
def revoke_key(request: Request, key_id: str, access: Asking) -> dict[str, Any]:
    """The key, which lets nobody in any more: not in this process at once, nor in others some seconds later."""
    with request.app.state.database.writing() as session:
        row = keys.revoke_key(session, key_id, time.time())
    request.app.state.keyring.look()
    return {**shown(row), "own": access.key == key_id}


def shown(key: models.Key) -> dict[str, Any]:
    """A key as people read it."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "project": key.project,
        "created_at": key.created_at,
        "used_at": key.used_at,
        "revoked_at": key.revoked_at,
    }
