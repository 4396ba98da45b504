"""A run -> whether this process works on it now. Workers that know a common Redis share the runs; without one, everybody works on all.

A lease only saves work: what a stage stores is fenced by the durable cursors, so two workers on one run are slower and never wrong.
Each run has one favourite among the living workers (rendezvous hashing), which takes its lease; so shares are even, and a worker
that comes or goes moves no more runs than it must. A worker that is killed loses its membership and its leases after `seconds`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from sqlalchemy.engine import make_url

log = logging.getLogger(__name__)

SECONDS = 10.0  # after which the runs of a killed worker are taken over
ASK_AGAIN = 1.0  # seconds between tries for a lease that another worker holds
FORGET_AFTER = 60.0  # seconds without a question about a run, after which its lease is given back
_PATIENCE = 2.0  # seconds for an answer of Redis
_AT_ONCE = 500  # leases renewed or given back in one command

# Redis' own clock: those of several machines differ.
_JOIN = """local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZRANGE', KEYS[1], 0, -1)"""
_RENEW = """local kept = {}
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then kept[i] = redis.call('PEXPIRE', key, ARGV[2]) else kept[i] = 0 end
end
return kept"""
_RELEASE = """for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end"""


class Leases(Protocol):
    """Who works on which run."""

    def mine(self, run_id: str) -> bool:
        """True when this process shall work on the run now. From any thread; never raises."""

    def close(self) -> None:
        """Give everything back."""


class AllMine:
    """Of a process that works alone."""

    def mine(self, run_id: str) -> bool:
        return True

    def close(self) -> None:
        """Nothing was taken."""


class RedisLeases:
    """Shared with every worker of the same Redis and `space`; while Redis does not answer, every run is everybody's."""

    def __init__(self, redis_url: str, space: str, *, seconds: float = SECONDS) -> None:
        import redis  # only where it is used: the `scale` extra brings it

        self.name = uuid.uuid4().hex
        self._space = f"foreshock:{space}"
        self._seconds = seconds
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, decode_responses=True
        )
        self._lock = threading.Lock()
        self._members: list[str] = []
        self._held: dict[str, float] = {}  # run -> until when, on the monotonic clock
        self._refused: dict[str, float] = {}  # run -> when to ask again
        self._asked: dict[str, float] = {}  # run -> when its stage last asked
        self._alone = False  # Redis does not answer
        self._closing = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._keep, name="foreshock-leases", daemon=True)
        self._thread.start()

    def mine(self, run_id: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if self._alone:
                return True
            self._asked[run_id] = now
            if self._held.get(run_id, 0.0) > now:
                return True
            if self._refused.get(run_id, 0.0) > now or not self._favourite(run_id):
                return False
        return self._take(run_id, now)

    def close(self) -> None:
        self._closing.set()
        self._thread.join(_PATIENCE + 1)
        try:
            self._release(list(self._held))
            self._redis.zrem(f"{self._space}:workers", self.name)
        except Exception as error:  # noqa: BLE001 (what is not given back ends by itself)
            log.debug("leases end by themselves: %s", error)
        self._redis.close()

    def _favourite(self, run_id: str) -> bool:
        return max(self._members, key=lambda name: _weight(name, run_id), default=self.name) == self.name

    def _take(self, run_id: str, now: float) -> bool:
        key, length = self._key(run_id), round(self._seconds * 1000)
        try:
            # An answer may have been lost on its way, so the lease may be ours already.
            won = self._redis.set(key, self.name, nx=True, px=length) or self._redis.get(key) == self.name
        except Exception as error:  # noqa: BLE001 (any failure means the same)
            self._lose(error)
            return True
        with self._lock:
            if won:
                self._held[run_id] = now + self._seconds
                self._refused.pop(run_id, None)
            else:
                self._refused[run_id] = now + ASK_AGAIN
        return bool(won)

    def _keep(self) -> None:
        while not self._closing.wait(min(1.0, self._seconds / 5) if self._alone else self._seconds / 5):
            self._beat()

    def _beat(self) -> None:
        """Say that we live, renew what we work on, give back what is another's favourite or nobody asks for."""
        now = time.monotonic()
        length = round(self._seconds * 1000)
        try:
            members = self._redis.eval(_JOIN, 1, f"{self._space}:workers", self.name, length)
            with self._lock:
                self._members = list(members)
                self._asked = {run: at for run, at in self._asked.items() if now - at < FORGET_AFTER}
                self._refused = {run: at for run, at in self._refused.items() if at > now}
                kept = [run for run in self._held if run in self._asked and self._favourite(run)]
                given = list(self._held.keys() - set(kept))
                for run in given:
                    del self._held[run]
            self._release(given)
            for some in _portions(kept):
                answers = self._redis.eval(_RENEW, len(some), *map(self._key, some), self.name, length)
                with self._lock:
                    for run, still in zip(some, answers, strict=True):
                        if still:
                            self._held[run] = now + self._seconds
                        else:
                            self._held.pop(run, None)
        except Exception as error:  # noqa: BLE001 (leases must never end a process)
            self._lose(error)
            return
        with self._lock:
            returned, self._alone = self._alone, False
        if returned:
            log.warning("Redis answers again: runs are shared among the workers by lease.")

    def _lose(self, error: Exception) -> None:
        with self._lock:
            first, self._alone = not self._alone, True
            self._held.clear()
            self._refused.clear()
        if first:
            log.warning("Redis does not answer, so this worker works on every run, as all do: %s", error)

    def _release(self, runs: Iterable[str]) -> None:
        for some in _portions(list(runs)):
            self._redis.eval(_RELEASE, len(some), *map(self._key, some), self.name)

    def _key(self, run_id: str) -> str:
        return f"{self._space}:lease:{run_id}"


def _weight(name: str, run_id: str) -> bytes:
    return hashlib.blake2b(f"{name} {run_id}".encode(), digest_size=8).digest()


def _portions(runs: list[str]) -> Iterable[list[str]]:
    return (runs[start : start + _AT_ONCE] for start in range(0, len(runs), _AT_ONCE))


def open_leases(redis_url: str | None, database_url: str) -> Leases:
    """Shared with the workers over the same database when there is a Redis, else none are needed."""
    return RedisLeases(redis_url, space_of(database_url)) if redis_url else AllMine()


def space_of(database_url: str) -> str:
    """A name for this database, so that two of them can use one Redis; who logs in to it makes no difference."""
    url = make_url(database_url)
    parts: list[Any] = [url.get_backend_name(), url.host, url.port, url.database, sorted(url.query.items())]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
