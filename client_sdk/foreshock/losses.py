"""Readings that were lost, by reason: counted where it happens, sent with the next block, shown on the page."""

from __future__ import annotations

import threading
from collections.abc import Mapping


class Losses:
    """Cumulative counts of one writer; safe from any thread."""

    def __init__(self, before: Mapping[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = dict(before or {})

    def add(self, reason: str, readings: int = 1) -> None:
        """Count readings that will never arrive."""
        if readings > 0:
            with self._lock:
                self._counts[reason] = self._counts.get(reason, 0) + readings

    def by_reason(self) -> dict[str, int]:
        """A copy, reason -> readings."""
        with self._lock:
            return dict(self._counts)

    @property
    def total(self) -> int:
        """All of them."""
        with self._lock:
            return sum(self._counts.values())
