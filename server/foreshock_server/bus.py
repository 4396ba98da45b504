"""Hints: "run 7 grew". Losing one costs time and never data; whoever listens also looks by itself now and then."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

Listener = Callable[[str], None]

_CHANNEL = "foreshock"
_MOST_WAITING = 10_000  # runs with a hint that has not left yet
_TOGETHER = 0.05  # seconds between two messages: hints about one run within them are one, and all of them travel as one
_REDIS_PATIENCE = 2.0  # seconds


class Bus(Protocol):
    """Carries run ids to whoever listens; never blocks, never raises."""

    def publish(self, run_id: str) -> None:
        """Say that something a viewer or a worker could see changed in this run."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener, from any thread, for each hint; the returned function ends it."""

    def problem(self) -> str | None:
        """What keeps hints from other processes away; None when nothing does."""

    def close(self) -> None:
        """Stop listening."""


class LocalBus:
    """Within one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[int, Listener] = {}
        self._next = 0

    def publish(self, run_id: str) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(run_id)
            except Exception:  # whoever publishes must not pay for whoever listens
                log.exception("a listener failed on a hint about run %s", run_id)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        with self._lock:
            self._next += 1
            number = self._next
            self._listeners[number] = listener

        def end() -> None:
            with self._lock:
                self._listeners.pop(number, None)

        return end

    def close(self) -> None:
        with self._lock:
            self._listeners.clear()

    def problem(self) -> str | None:
        """Nothing can be wrong with it."""
        return None


class RedisBus:
    """Between processes, by Redis' publish and subscribe; within this one even while Redis is away."""

    def __init__(self, url: str) -> None:
        import redis  # only where it is used: the `scale` extra brings it

        self._local = LocalBus()
        self._origin = uuid.uuid4().hex
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_REDIS_PATIENCE, socket_connect_timeout=_REDIS_PATIENCE, decode_responses=True
        )
        self._waiting: dict[str, None] = {}  # runs, in the order of their first hint
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._keep, args=(work,), name=f"foreshock-bus-{work.__name__}", daemon=True
            )
            for work in (self._send, self._receive)
        ]
        for thread in self._threads:
            thread.start()

    def publish(self, run_id: str) -> None:
        self._local.publish(run_id)
        with self._lock:
            if (
                len(self._waiting) < _MOST_WAITING
            ):  # else a hint is lost: whoever listens looks by itself before long
                self._waiting[run_id] = None
        self._some.set()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._local.subscribe(listener)

    def problem(self) -> str | None:
        """Why Redis does not answer; None when it does."""
        try:
            self._redis.ping()
        except Exception as error:  # noqa: BLE001 (any failure is the answer)
            return f"{type(error).__name__}: {error}"
        return None

    def close(self) -> None:
        self._closing.set()
        self._local.close()
        for thread in self._threads:
            thread.join(_REDIS_PATIENCE + 1)
        self._redis.close()

    def _keep(self, work: Callable[[], None]) -> None:
        wait = 0.2
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                work()
            except Exception as error:  # noqa: BLE001 (hints must never end a process)
                log.warning("Redis does not answer, hints stay within this process: %s", error)
            wait = 0.2 if time.monotonic() - began > 30 else min(wait * 2, 5.0)
            self._closing.wait(wait)

    def _send(self) -> None:
        while not self._closing.is_set():
            if not self._some.wait(0.2):
                continue
            self._some.clear()
            with self._lock:
                runs, self._waiting = list(self._waiting), {}
            if runs:
                try:
                    self._redis.publish(_CHANNEL, json.dumps([self._origin, runs]))
                except Exception:
                    with self._lock:  # for when it answers again
                        self._waiting = {**dict.fromkeys(runs), **self._waiting}
                    self._some.set()
                    raise
            self._closing.wait(_TOGETHER)

    def _receive(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]  # redis leaves it untyped
            subscription.subscribe(_CHANNEL)
            while not self._closing.is_set():
                message = subscription.get_message(timeout=0.5)
                if message is not None:
                    self._hear(message["data"])

    def _hear(self, data: str) -> None:
        try:
            origin, runs = json.loads(data)
            ids = [str(run_id) for run_id in runs]
        except (TypeError, ValueError):
            return  # not of this release
        for run_id in ids if origin != self._origin else ():
            self._local.publish(run_id)


def open_bus(redis_url: str | None) -> Bus:
    """Between processes when there is a Redis, else within this one."""
    return RedisBus(redis_url) if redis_url else LocalBus()
