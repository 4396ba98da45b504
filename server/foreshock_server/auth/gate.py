"""Every request -> let in, or refused with a sentence: key or cookie when there is a key, else our own hosts only."""

from __future__ import annotations

import ipaddress
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from foreshock_server.auth.keys import COOKIE, cookie_holds, same_key
from foreshock_server.errors import DomainError, Forbidden, Unauthorized
from foreshock_server.settings import Settings

_SAFE = {"GET", "HEAD", "OPTIONS"}
_OPEN = "/api/v1/session"  # where a key is turned into a cookie


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._key = settings.api_key.get_secret_value() if settings.api_key else None
        self._public = urlsplit(settings.public_url).netloc.lower() if settings.public_url else None
        self._hosts = {settings.host.lower()} | ({_hostname(self._public)} if self._public else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
            if refusal is not None:
                headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
                await JSONResponse(refusal.body(), refusal.status, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, method: str, path: str, headers: Headers) -> DomainError | None:
        if self._key is None:
            # A web page anywhere can make its own name point here and then read our answers as its own.
            host = _hostname(headers.get("host", ""))
            if not (is_loopback(host) or host in self._hosts):
                return Forbidden(
                    f"Without a key this server answers only to its own address, not to {host!r}; "
                    "set FORESHOCK_PUBLIC_URL to the address people use, or FORESHOCK_API_KEY."
                )
            return self._cross_site(method, headers)
        guarded = path.startswith("/api/") or path == "/metrics"
        if not guarded or path == _OPEN:
            return self._cross_site(method, headers)
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same_key(self._key, offered.strip()):
            return None
        if cookie_holds(self._key, _cookie(headers), time.time()):
            return self._cross_site(method, headers)
        return Unauthorized()

    def _cross_site(self, method: str, headers: Headers) -> DomainError | None:
        """Browsers send cookies, and reach loopback, for any site's form: what changes something must come from our page."""
        if method in _SAFE:
            return None
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return Forbidden()
        origin = headers.get("origin")
        if origin is not None:
            netloc = urlsplit(origin).netloc.lower()
            if netloc not in {headers.get("host", "").lower(), self._public}:
                return Forbidden()
        return None


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """True when only this machine can reach that address."""
    if host in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
