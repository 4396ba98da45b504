"""Every request -> let in with what its sender may do, or refused with a sentence, before its body is read.

With a key anywhere: by key or cookie, within the key's scopes and project, and as fast as the limits allow. Without any: our
own hosts only.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections import OrderedDict
from urllib.parse import urlsplit

from anyio import to_thread
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from foreshock_server.auth.keyring import Keyring
from foreshock_server.auth.keys import COOKIE
from foreshock_server.auth.limits import Limits
from foreshock_server.auth.needs import Reach, is_guarded, need_of
from foreshock_server.db import Database
from foreshock_server.deps import ADMIN, EVERYTHING, NOTHING, READ, Access, body_size
from foreshock_server.errors import DatabaseAway, DomainError, Forbidden, Unauthorized, UnknownRun
from foreshock_server.models import Run
from foreshock_server.settings import Settings
from foreshock_server.telemetry.context import note

log = logging.getLogger(__name__)

_SAFE = {"GET", "HEAD", "OPTIONS"}
_ALIVE, _METRICS = "/healthz", "/metrics"  # answer while the database does not
_PROJECT_KEPT = 5.0  # seconds for which the project of a run is remembered
_PROJECTS_KEPT = 10_000
AWAY_FOR = 2.0  # seconds after which a client may try again
_TOKEN = re.compile(rf"(?:^|;)[ \t]*{COOKIE}=([A-Za-z0-9_-]{{1,100}})[ \t]*(?:;|$)")


class Gate:
    """ASGI middleware. Puts the sender's Access into the scope, as `foreshock.access`."""

    def __init__(
        self, app: ASGIApp, settings: Settings, database: Database, keyring: Keyring, limits: Limits
    ) -> None:
        self._app = app
        self._database = database
        self._keyring = keyring
        self._limits = limits
        self._unknown_size = settings.max_block_bytes
        self._public = urlsplit(settings.public_url).netloc.lower() if settings.public_url else None
        self._hosts = {settings.host.lower()} | ({_hostname(self._public)} if self._public else set())
        self._open_to_all = not is_loopback(settings.host)
        self._projects: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _forget_other_cookies(scope)
            try:
                scope["foreshock.access"] = await self._admit(scope, Headers(scope=scope))
            except DomainError as refusal:
                headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
                if refusal.retry_after is not None:
                    headers["Retry-After"] = f"{refusal.retry_after:g}"
                await JSONResponse(refusal.body(), refusal.status, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, headers: Headers) -> Access:
        method, path = scope["method"], scope["path"]
        guarded = is_guarded(path)
        if path == _ALIVE:
            locked = self._keyring.seems_locked
        else:
            locked = await self._keyring.locked(patient=guarded and path != _METRICS)
        if not locked and not self._open_to_all:
            return await self._admit_neighbour(scope, headers)
        if not guarded:
            self._refuse_other_sites(method, headers)
            return NOTHING
        access = await self._identify(method, path, headers)
        if access is not None:
            note(key=access.key)
        need, run = need_of(method, path)
        if need.scope is None:
            if access is None:
                self._refuse_other_sites(method, headers)
                if method not in _SAFE:
                    await self._limits.guess(_address(scope))
            return access or NOTHING
        if access is None:
            await self._limits.guess(_address(scope))
            raise Unauthorized(_why_not(headers))
        if not access.may(need.scope):
            raise Forbidden(_lacks(access, need.scope, method, path))
        if access.project is not None:
            if need.reach is Reach.ALL:
                raise Forbidden(_only_for(access, method, path))
            if need.reach is Reach.RUN and await self._project_of(run or "") != access.project:
                raise UnknownRun
        assert access.key is not None  # noqa: S101 (whoever was identified showed one)
        await self._limits.request(f"key:{access.key}", need.scope, self._size(headers))
        return access

    async def _admit_neighbour(self, scope: Scope, headers: Headers) -> Access:
        # A web page anywhere can make its own name point here and then read our answers as its own.
        host = _hostname(headers.get("host", ""))
        if not (is_loopback(host) or host in self._hosts):
            raise Forbidden(
                f"Without a key this server answers only to its own address, not to {host!r}; "
                "set FORESHOCK_PUBLIC_URL to the address people use, or make a key with `foreshock keys create`."
            )
        self._refuse_other_sites(scope["method"], headers)
        address = _address(scope)
        if is_guarded(scope["path"]) and not is_loopback(address) and scope["client"] is not None:
            need, _ = need_of(scope["method"], scope["path"])
            await self._limits.request(f"address:{address}", need.scope or READ, self._size(headers))
        return EVERYTHING

    async def _identify(self, method: str, path: str, headers: Headers) -> Access | None:
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and offered.strip():
            longest = float("inf") if path == _METRICS else None
            access = await self._keyring.by_key(offered.strip(), longest)
            if access is not None:
                return access
        access = await self._keyring.by_token(cookie_of(headers))
        if access is not None:
            self._refuse_other_sites(method, headers)
        return access

    def _refuse_other_sites(self, method: str, headers: Headers) -> None:
        """Browsers send cookies, and reach loopback, for any site's form: what changes something must come from our page."""
        if method in _SAFE:
            return
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Forbidden
        origin = headers.get("origin")
        if origin is not None:
            try:
                netloc = urlsplit(origin).netloc.lower()
            except ValueError:
                raise Forbidden from None
            if netloc not in {headers.get("host", "").lower(), self._public}:
                raise Forbidden

    async def _project_of(self, run: str) -> str | None:
        """The project of the run, also of one being deleted; it never changes while the run exists."""
        kept = self._projects.get(run)
        if kept is not None and time.monotonic() < kept[1]:
            return kept[0]
        try:
            project = await to_thread.run_sync(self._look_up, run)
        except SQLAlchemyError as error:
            log.warning("the database does not answer: %s", str(error).splitlines()[0])
            raise DatabaseAway(retry_after=AWAY_FOR) from error
        if project is not None:
            self._projects[run] = (project, time.monotonic() + _PROJECT_KEPT)
            self._projects.move_to_end(run)
            while len(self._projects) > _PROJECTS_KEPT:
                self._projects.popitem(last=False)
        return project

    def _look_up(self, run: str) -> str | None:
        with self._database.reading() as session:
            return session.scalar(select(Run.project).where(Run.id == run))

    def _size(self, headers: Headers) -> int:
        """Of the body in bytes; one that does not say is taken to be as large as it may be."""
        size = body_size(headers)
        if size is None:
            return self._unknown_size if "transfer-encoding" in headers else 0
        return size


def _why_not(headers: Headers) -> str | None:
    if headers.get("authorization", ""):
        return (
            "This is not a key of this server, or it was revoked; `foreshock keys list`, where the server runs, "
            "lists those that hold, and `foreshock keys create` makes one."
        )
    return None


def _lacks(access: Access, scope: str, method: str, path: str) -> str:
    has = " and ".join(sorted(access.scopes)) or "nothing"
    return f"The key {access.name!r} has the scope {has}; {method} {path} needs one with {scope}."


def _only_for(access: Access, method: str, path: str) -> str:
    return (
        f"The key {access.name!r} is for the project {access.project!r} alone; "
        f"{method} {path} needs a key with {ADMIN} for all projects."
    )


def cookie_of(headers: Headers) -> str:
    """The token of a page session; empty when the request brings none."""
    found = _TOKEN.search("; ".join(headers.getlist("cookie")))
    return found[1] if found else ""


def _forget_other_cookies(scope: Scope) -> None:
    """Leave only ours: `http.cookies` takes seconds over 30 KB of backslashes, and FastAPI reads all cookies with it."""
    headers = scope["headers"]
    if all(name != b"cookie" for name, _ in headers):
        return
    token = cookie_of(Headers(scope=scope))
    scope["headers"] = [(name, value) for name, value in headers if name != b"cookie"]
    if token:
        scope["headers"].append((b"cookie", f"{COOKIE}={token}".encode()))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


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
