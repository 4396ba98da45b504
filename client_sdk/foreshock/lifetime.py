"""The ends of a process that a run must survive: exit flushes it with a deadline, a fork's child leaves it alone."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Protocol

from . import guard as guarding
from .guard import guard


class Mortal(Protocol):
    """What has a life to end."""

    def finish(self, state: str = "finished") -> None:
        """Flush, with a deadline."""

    def abandon(self) -> None:
        """Become inert, without touching what the parent owns."""


_living: list[Mortal] = []  # not weak: a run that nobody holds any more must still be finished
_registered = False


def watch_over(mortal: Mortal) -> None:
    """See to it that this run is finished at exit, and is inert in a child."""
    global _registered
    _living.append(mortal)
    if not _registered:
        _registered = True
        atexit.register(_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forked)


def let_go(mortal: Mortal) -> None:
    """It has ended by itself."""
    if mortal in _living:
        _living.remove(mortal)


def _exit() -> None:
    # The interpreter leaves the exception that ended the script here. In a notebook it is that of any earlier cell.
    interactive = hasattr(sys, "ps1") or "IPython" in sys.modules
    failed = not interactive and getattr(sys, "last_value", None) is not None
    for mortal in _living:
        mortal.finish("failed" if failed else "finished")


def _forked() -> None:
    guarding.renew_lock()  # a thread that does not exist here may have held it
    for mortal in _living:
        with guard("after a fork"):
            mortal.abandon()
    _living.clear()
