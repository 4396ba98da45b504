"""Whose turn it is: rules are tried for one question at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from foreshock_server.errors import TooFast

# The work is Python's, so two at a time would only wait for each other, and ingest for both.
_alone = threading.Lock()


@contextmanager
def turn(patience: float = 0.0) -> Iterator[None]:
    """The block runs alone, after so many seconds of waiting at most; else TooFast."""
    if not _alone.acquire(timeout=patience):
        raise TooFast(
            "Rules are being tried on runs for somebody else; try again in some seconds.", retry_after=5.0
        )
    try:
        yield
    finally:
        _alone.release()
