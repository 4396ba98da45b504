"""What a request shows -> what its sender may do, from a picture of the keys that is two seconds old at most.

One picture serves all requests of those seconds, so a request costs no query; a key that is not in it is looked for again,
a few times a second at most however many are tried. When each was last used is written with the pictures, once a minute.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable

import anyio
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from foreshock_server.auth.keys import LIFETIME, SETTINGS, digest, read_key, same, settings_digest
from foreshock_server.db import Database
from foreshock_server.deps import SCOPES, Access
from foreshock_server.errors import DatabaseAway
from foreshock_server.models import Key
from foreshock_server.store import keys
from foreshock_server.store.keys import Known

log = logging.getLogger(__name__)

FRESH = 2.0  # seconds for which a picture is used without a look
AGAIN = 0.25  # seconds between two looks for what is not in the picture
STALE = 4.0  # seconds after which requests wait for whoever looks
LONGEST = 30.0  # seconds for which a picture serves while the database is away
PATIENCE = 2.0  # seconds that a request waits for a look
FIRST_PATIENCE = 10.0  # for the first one, without which nobody can be answered
MINUTE = 60.0

SETTINGS_KEY = Key(id=SETTINGS, name="FORESHOCK_API_KEY", project=None, scopes=list(SCOPES))
_NO_KEYS = Known({}, {}, ever=False)


class Keyring:
    """The keys of the database, and that of the settings if there is one."""

    def __init__(self, database: Database, settings_key: str | None) -> None:
        self.settings_key = settings_key
        self._database = database
        self._known = _NO_KEYS
        self._seen = float("-inf")  # time.monotonic() of the picture
        self._tried = float("-inf")  # of the last attempt to take one
        self._turn = threading.Lock()
        self._looking = False
        self._used: dict[str, float] = {}

    @property
    def seems_locked(self) -> bool:
        """True when, as far as is known without a look, nobody is let in without a key."""
        return self.settings_key is not None or self._known.ever

    async def locked(self, *, patient: bool = True) -> bool:
        """True when nobody is let in without a key.

        Impatient: as far as is known, with a look only if there never was one, and False when that fails.
        """
        if self.settings_key is None:
            if patient:
                await self._picture(FRESH)
            elif self._seen == float("-inf"):
                await self._look_soon(1.0)
        return self.seems_locked

    async def by_key(self, text: str, longest: float | None = None) -> Access | None:
        """What the holder of this key may do; None: it is not, or no longer, a key of this server.

        DatabaseAway when the picture is older than `longest` seconds (LONGEST), and none can be taken.
        """
        if self.settings_key is not None and same(self.settings_key, text):
            return self._access(SETTINGS_KEY, lambda: self.by_key(text))
        parts = read_key(text)
        if parts is None:
            return None
        key_id, secret = parts
        offered = digest(secret)
        for oldest in (FRESH, AGAIN):
            key = (await self._picture(oldest, longest)).keys.get(key_id)
            if same(key.digest if key else digest(""), offered) and key is not None:
                return self._access(key, lambda: self.by_key(text))
        return None

    async def by_token(self, token: str) -> Access | None:
        """What the browser with this cookie may do; None: it is not signed in."""
        if not token or len(token) > 100:
            return None
        for oldest in (FRESH, AGAIN):
            known = await self._picture(oldest)
            for kept in self.digests(token):
                session = known.sessions.get(kept)
                if session is None or session.expires_at <= time.time():
                    continue
                key = SETTINGS_KEY if session.key_id == SETTINGS else known.keys.get(session.key_id)
                if key is not None:
                    return self._access(key, lambda: self.by_token(token))
        return None

    def digests(self, token: str) -> list[str]:
        """Under which digests a session with this token may be kept."""
        mixed = [] if self.settings_key is None else [settings_digest(token, self.settings_key)]
        return [digest(token), *mixed]

    def remember(self, access: Access, token: str) -> None:
        """Keep a session for this token, for as long as the key holds; not from the event loop."""
        assert access.key is not None  # noqa: S101 (sessions are made of keys)
        kept = self.digests(token)[-1 if access.key == SETTINGS else 0]
        with self._database.writing() as session:
            keys.open_session(session, digest=kept, key_id=access.key, now=time.time(), lifetime=LIFETIME)
        self.look()

    def look(self) -> None:
        """Take a new picture now, for what this process has just changed; not from the event loop."""
        self._look(0.0)

    def close(self) -> None:
        """Write down what was used since the last picture."""
        if self._used:
            self._note()

    def _access(self, key: Key, again: Callable[[], Awaitable[Access | None]]) -> Access:
        if key is not SETTINGS_KEY:
            self._used[key.id] = time.time() // MINUTE * MINUTE

        async def holds() -> bool:
            return await again() is not None

        return Access(key.id, frozenset(key.scopes), key.project, key.name, holds)

    # -- pictures -----------------------------------------------------------------------------------------------

    async def _picture(self, oldest: float, longest: float | None = None) -> Known:
        first = self._seen == float("-inf")
        await self._look_soon(oldest, FIRST_PATIENCE if first else PATIENCE)
        if time.monotonic() - self._seen > (LONGEST if longest is None else longest):
            raise DatabaseAway(retry_after=PATIENCE)
        return self._known

    async def _look_soon(self, oldest: float, patience: float = PATIENCE) -> None:
        """Look if the last attempt is older than this; one request does, others go on with what is known while it is not stale."""
        first = self._seen == float("-inf")
        if time.monotonic() - self._tried < oldest and not (first and self._looking):
            return
        if not self._looking:
            self._looking = True
            with anyio.move_on_after(patience):
                await to_thread.run_sync(self._look, oldest, abandon_on_cancel=True)
        elif time.monotonic() - self._seen > STALE:
            with anyio.move_on_after(patience):
                while self._looking:
                    await anyio.sleep(0.01)

    def _look(self, oldest: float) -> None:
        try:
            with self._turn:
                if time.monotonic() - self._tried < oldest:
                    return
                self._tried = began = time.monotonic()
                with self._database.reading() as session:
                    self._known = keys.known(session, time.time())
                self._seen = began
        except SQLAlchemyError as error:
            log.warning("the keys cannot be looked up: %s", str(error).splitlines()[0])
        finally:
            self._looking = False
        if self._used and time.monotonic() - self._seen < FRESH:
            self._note()

    def _note(self) -> None:
        used, self._used = self._used, {}
        before = {key.id: key.used_at or 0.0 for key in self._known.keys.values()}
        news = {key_id: at for key_id, at in used.items() if at > before.get(key_id, at)}
        if not news:
            return
        try:
            with self._database.writing() as session:
                keys.note_use(session, news)
        except SQLAlchemyError as error:
            log.warning("the use of keys cannot be noted: %s", str(error).splitlines()[0])
