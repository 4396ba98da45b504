"""The page's sign-in: a key in, a cookie out that scripts cannot read."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Cookie, Request, Response
from pydantic import BaseModel, Field, SecretStr

from foreshock_server.auth.keys import COOKIE, LIFETIME, cookie_holds, make_cookie, same_key
from foreshock_server.errors import Unauthorized

router = APIRouter(tags=["session"])


class Offer(BaseModel):
    """What the sign-in form sends."""

    key: SecretStr = Field(max_length=1000)


class SessionState(BaseModel):
    """Whether a key is needed here, and whether this browser has shown it."""

    needed: bool
    open: bool


@router.get("/session")
def session_state(
    request: Request, cookie: Annotated[str, Cookie(alias=COOKIE, include_in_schema=False)] = ""
) -> SessionState:
    """Whether the page must ask for a key."""
    key = _key(request)
    if key is None:
        return SessionState(needed=False, open=True)
    return SessionState(needed=True, open=cookie_holds(key, cookie, time.time()))


@router.post("/session")
def open_session(request: Request, response: Response, offer: Offer) -> SessionState:
    """Turn the key into a cookie for this browser."""
    key = _key(request)
    if key is None:
        return SessionState(needed=False, open=True)
    if not same_key(key, offer.key.get_secret_value()):
        raise Unauthorized("This is not the key of this server; it is the value of FORESHOCK_API_KEY there.")
    public = request.app.state.settings.public_url or ""
    response.set_cookie(
        COOKIE,
        make_cookie(key, time.time()),
        max_age=LIFETIME,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or public.startswith("https://"),
    )
    return SessionState(needed=True, open=True)


@router.delete("/session")
def close_session(request: Request, response: Response) -> SessionState:
    """Forget the cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    needed = _key(request) is not None
    return SessionState(needed=needed, open=not needed)


def _key(request: Request) -> str | None:
    key = request.app.state.settings.api_key
    return key.get_secret_value() if key is not None else None
