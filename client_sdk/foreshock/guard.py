"""The one place of the SDK that may catch everything: our bugs stop here, are counted, and are said once per site."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from contextlib import ContextDecorator

log = logging.getLogger("foreshock")

_lock = threading.Lock()
_faults: dict[str, int] = {}
_said: set[object] = set()
_SAID_AT_MOST = 10_000  # a loop that finds new things to complain about must not fill the memory


class guard(ContextDecorator):  # noqa: N801 (used as `with guard(…)`, where the small letter reads)
    """Swallow our own bugs, count them, say so once per site, keep training alive.

    It wraps our code and never a block of the user's. KeyboardInterrupt and SystemExit pass. With FORESHOCK_STRICT=1,
    as in our own test suite, nothing is swallowed.
    """

    __slots__ = ("site",)

    def __init__(self, site: str) -> None:
        self.site = site

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):  # none, or KeyboardInterrupt: not ours to eat
            return False
        fault(self.site)
        if os.environ.get("FORESHOCK_STRICT") == "1":
            return False
        if first_time(("fault", self.site)):
            log.warning(
                "foreshock: our fault, in %s; training goes on without this reading, and this is said once",
                self.site,
                exc_info=error,
            )
        return True


def fault(site: str) -> None:
    """Count one exception of ours that did not reach the training loop."""
    with _lock:
        _faults[site] = _faults.get(site, 0) + 1


def faults() -> Mapping[str, int]:
    """How often the guard held, by site, in this process."""
    with _lock:
        return dict(_faults)


def renew_lock() -> None:
    """In a fork's child: the lock may be held by a thread that is not there."""
    global _lock
    _lock = threading.Lock()


def first_time(what: object) -> bool:
    """True once per process and subject: what is said once is said where this is true."""
    with _lock:
        if what in _said or len(_said) >= _SAID_AT_MOST:
            return False
        _said.add(what)
        return True


def say_once(subject: object, sentence: str, *values: object) -> None:
    """Warn the user about this subject, the first time only."""
    if first_time(subject):
        log.warning("foreshock: " + sentence, *values)  # noqa: G003 (the sentence is a constant at every call)
