"""The page's sign-in: a key in, a cookie out that scripts cannot read, and that ends with its time, with the key, or at a sign-out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.concurrency import run_in_threadpool

from foreshock_server.auth.gate import cookie_of
from foreshock_server.auth.keyring import Keyring
from foreshock_server.auth.keys import COOKIE, LIFETIME, new_token, read_key
from foreshock_server.deps import READ, Access, Asking
from foreshock_server.errors import Forbidden, Unauthorized
from foreshock_server.store import keys

router = APIRouter(tags=["session"])


class Offer(BaseModel):
    """What the sign-in form sends."""

    model_config = ConfigDict(extra="forbid")

    key: SecretStr = Field(max_length=1000)


class SessionState(BaseModel):
    """Whether a key is needed here, and what the one that this browser has shown may do."""

    needed: bool
    open: bool
    name: str | None = None
    scopes: list[str] = []
    project: str | None = None


@router.get("/session")
async def session_state(request: Request, access: Asking) -> SessionState:
    """Whether the page must ask for a key."""
    if access.may(READ):
        return _state(access)
    return SessionState(needed=await _keyring(request).locked(), open=False)


@router.post("/session")
async def open_session(request: Request, response: Response, offer: Offer) -> SessionState:
    """Turn the key into a cookie for this browser."""
    keyring = _keyring(request)
    if not await keyring.locked():
        return SessionState(needed=False, open=True)
    text = offer.key.get_secret_value().strip()
    access = await keyring.by_key(text)
    if access is None:
        raise Unauthorized(_what_is_wrong(text))
    if not access.may(READ):
        raise Forbidden(
            f"The key {access.name!r} may send readings and not look at them; sign in with one that has the scope read."
        )
    token = new_token()
    await run_in_threadpool(keyring.remember, access, token)
    response.set_cookie(COOKIE, token, max_age=LIFETIME, **_bounds(request))
    return _state(access)


@router.delete("/session")
def close_session(request: Request, response: Response) -> SessionState:
    """End the session: the cookie is forgotten, and would let nobody in."""
    keyring = _keyring(request)
    token = cookie_of(request.headers)
    if token:
        with request.app.state.database.writing() as session:
            keys.close_sessions(session, keyring.digests(token))
        keyring.look()
    response.delete_cookie(COOKIE, **_bounds(request))
    return SessionState(needed=keyring.seems_locked, open=not keyring.seems_locked)


def _state(access: Access) -> SessionState:
    return SessionState(
        needed=access.key is not None,
        open=True,
        name=access.name or None,
        scopes=sorted(access.scopes),
        project=access.project,
    )


def _what_is_wrong(text: str) -> str:
    if read_key(text) is None and text.startswith("fsk_"):
        return "A part of this key is missing, or there is too much of it; copy all of it, from fsk_ on."
    return "This is not a key of this server, or it was revoked; `foreshock keys create`, where it runs, makes one."


def _bounds(request: Request) -> dict[str, Any]:
    public = request.app.state.settings.public_url or ""
    secure = request.url.scheme == "https" or public.startswith("https://")
    return {"httponly": True, "samesite": "strict", "secure": secure}


def _keyring(request: Request) -> Keyring:
    keyring: Keyring = request.app.state.keyring
    return keyring
