"""A question that may hang -> its latest answer and how old that is; one thread at a time asks, nobody waits longer than said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What is known of an answer."""

    value: T | None  # the latest that came, however old
    age: float | None  # seconds since it came; None: none ever did
    problem: str | None  # why there is no fresh one; None: this is one


class Probe(Generic[T]):
    """Asks on a thread of its own, never in the pool that requests share: what hangs here must not hang them.

    A question that hangs is left alone until it ends; those who come meanwhile are told since when it hangs.
    """

    def __init__(self, name: str, ask: Callable[[], T], *, keep: float) -> None:
        self._name = name
        self._ask = ask
        self._keep = keep  # seconds that an answer counts as fresh
        self._lock = threading.Lock()
        self._course: Future[T] | None = None
        self._began = 0.0
        self._value: T | None = None
        self._answered: float | None = None
        self._ended: float | None = None
        self._problem: str | None = None

    async def seen(self, patience: float) -> Seen[T]:
        """The latest answer, asked anew if it is old, within `patience` seconds."""
        course = self._started()
        if course is not None:
            await asyncio.wait({asyncio.wrap_future(course)}, timeout=patience)
        return self._now()

    def _now(self) -> Seen[T]:
        with self._lock:
            now = time.monotonic()
            problem = self._problem
            if self._course is not None:
                problem = f"no answer for {now - self._began:.1f} s"
            age = None if self._answered is None else now - self._answered
            return Seen(self._value, age, problem)

    def _started(self) -> Future[T] | None:
        with self._lock:
            if self._course is not None:
                return self._course
            if self._ended is not None and time.monotonic() - self._ended < self._keep:
                return None
            course: Future[T] = Future()
            self._course, self._began = course, time.monotonic()
        threading.Thread(
            target=self._run, args=(course,), name=f"foreshock-{self._name}", daemon=True
        ).start()
        return course

    def _run(self, course: Future[T]) -> None:
        value, problem = None, None
        try:
            value = self._ask()
        except Exception as error:  # noqa: BLE001 (any failure is the answer)
            problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
        with self._lock:
            self._course, self._ended, self._problem = None, time.monotonic(), problem
            if problem is None:
                self._value, self._answered = value, self._ended
        course.set_result(value)  # type: ignore[arg-type]  # only that it ended matters to who waits
