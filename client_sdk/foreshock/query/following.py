"""A run that goes on -> what is new of it, as it comes: readings, changes of alerts, its state."""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .columns import Column, SeriesView
from .errors import ForeshockError, no_such
from .reading import Known, meant, read
from .tables import Table

if TYPE_CHECKING:
    from .run import RunView

SILENCE = 45.0  # seconds without a word on the stream; the server says something every 15
WAITS = (0.5, 10.0)  # seconds before the stream is opened again: the first, the longest
RELIST = 30.0  # seconds after which a run is asked whether a statistic is read at further places
OVER = ("finished", "failed")
CHANGES = ("kind", "rule", "severity", "series", "step")


@dataclass(frozen=True)
class News:
    """What came since the look before."""

    run: RunView  # as it is now
    series: Mapping[str, SeriesView]  # by the names that were asked for; empty views where nothing came
    changes: Table  # of alerts: what fired, grew worse, was resolved

    @property
    def step(self) -> int | None:
        """The last step that arrived."""
        return self.run.last_step

    def __getitem__(self, name: str) -> SeriesView:
        """The new readings of this name."""
        return self.series[name]

    def __repr__(self) -> str:
        readings = sum(map(len, self.series.values()))
        return f"<{self.run!r}: {readings:,} new readings, {len(self.changes)} changes of alerts>"


def follow(
    run: RunView, names: Sequence[str], *, since: int | None, every: float, seconds: float | None
) -> Iterator[News]:
    """News at once and after each change, at most once in `every` seconds, until the run is over or `seconds` have passed."""
    until = float("inf") if seconds is None else time.monotonic() + seconds
    looker = _Looker(run, names, since)
    first, longest = WAITS
    wait = first
    looked = time.monotonic()
    yield looker.look()
    while not looker.over and time.monotonic() < until:
        try:
            for told in _events(looker, until):
                wait = first
                if told is not None and looker.is_news(told):
                    time.sleep(max(0.0, min(looked + every, until) - time.monotonic()))
                    looked = time.monotonic()
                    yield looker.look()
                if looker.over or time.monotonic() >= until:
                    return
        except ForeshockError as error:
            if error.status is not None and error.status < 500 and error.status != 429:
                raise
        time.sleep(max(0.0, min(wait * random.uniform(0.75, 1.25), until - time.monotonic())))
        wait = min(2 * wait, longest)


def _events(looker: _Looker, until: float) -> Iterator[dict[str, Any] | None]:
    """What the stream says; None for a sign of life."""
    patience = max(0.05, min(SILENCE, until - time.monotonic()))
    kind = ""
    for line in looker.run.connection.lines(looker.run.path("/live"), {"cursor": looker.revision}, patience):
        word, _, rest = line.partition(": ")
        if word == "event":
            kind = rest
        elif word == "data" and kind == "deleted":
            raise ForeshockError(
                f"{looker.run.name} was deleted while it was followed.", status=404, code="UnknownRun"
            )
        elif word == "data":
            yield json.loads(rest)
        else:
            yield None


class _Looker:
    """How far each series was read, in (attempt, step)."""

    def __init__(self, run: RunView, names: Sequence[str], since: int | None) -> None:
        self.run = run.again()
        self.revision = -1
        self.over = False
        self._names = list(dict.fromkeys(names))
        self._known: dict[str, list[Known]] = {}
        self._listed = float("-inf")
        self._missed: set[str] = set()
        self._since = since
        self._read: dict[str, tuple[int, int]] = {}  # by key: attempt and step of the last reading
        self._told: set[tuple[Any, ...]] = set()
        if since is None:
            self._begin()

    def is_news(self, told: Mapping[str, Any]) -> bool:
        """Whether an event tells what the last look did not see yet."""
        return bool(told["revision"] > self.revision or told["state"] != self.run.state)

    def look(self) -> News:
        """What is new; where the server cannot be asked nothing is taken for read."""
        now = self.run.again()
        self._list(now)
        series = self._readings(now)
        changes = self._changes(now)
        self.run, self.revision = now, int(now.fields["revision"])
        self.over = now.state in OVER and _whole(now)
        return News(now, series, changes)

    def _begin(self) -> None:
        attempt = _attempt(self.run)
        for one in self.run.series_list():
            if one["last_step"] is not None:
                self._read[one["key"]] = attempt, one["last_step"]
        self._changes(self.run)

    def _readings(self, now: RunView) -> dict[str, SeriesView]:
        chosen = {one["key"]: one for some in self._known.values() for one in some}
        columns: dict[str, Column] = {}
        attempt = _attempt(now)
        for again in (False, True):  # what a new attempt reads may begin at any step
            some = [one for key, one in chosen.items() if (self._at(key)[0] < attempt) is again]
            if not some:
                continue
            first = min(self._at(one["key"])[1] for one in some) + 1
            if again:
                first = self._since or 0
            asked = [("points", 0), *([("first", first)] if first > 0 else [])]
            for column in read(now.connection, now.path("/data"), some, asked):
                columns[column.key] = _after(column, self._at(column.key))
        for key, column in columns.items():
            if len(column.steps):
                self._read[key] = int(column.attempts[-1]), int(column.steps[-1])
        return {
            name: SeriesView([columns[one["key"]] for one in self._known.get(name, [])], now.name)
            for name in self._names
        }

    def _at(self, key: str) -> tuple[int, int]:
        return self._read.get(key, (0, (self._since or 0) - 1))

    def _list(self, now: RunView) -> None:
        missing = len(self._known) < len(self._names)
        if not self._names or not (missing or time.monotonic() - self._listed > RELIST):
            return
        listed = now.series_list()
        self._listed = time.monotonic()
        self._known = {name: found for name in self._names if (found := meant(listed, name))}
        for name in self._names:
            if listed and name not in self._known and name not in self._missed:
                self._missed.add(name)
                words = [[one[field] for one in listed] for field in ("key", "statistic")]
                warnings.warn(
                    no_such(name, f"series of {now.name} so far", *words) + " It may still come.",
                    stacklevel=5,
                )

    def _changes(self, now: RunView) -> Table:
        fresh = []
        for change in now.transitions():
            name = change["rule"], change["series"], change["episode"], change["kind"], change["step"]
            if name not in self._told:
                self._told.add(name)
                fresh.append(change)
        if self._since is not None:
            fresh = [change for change in fresh if change["step"] >= self._since]
        return Table(fresh, CHANGES, "nothing fired or was resolved")


def _attempt(run: RunView) -> int:
    return max((int(one["attempt"]) for one in run.attempts), default=0)


def _whole(run: RunView) -> bool:
    """Whether all that its processes announced has arrived."""
    writers = [one for attempt in run.attempts for one in attempt["writers"]]
    return all(one["final"] is None or one["acked"] >= one["final"] for one in writers)


def _after(column: Column, seen: tuple[int, int]) -> Column:
    attempt, step = seen
    fresh = (column.attempts > attempt) | ((column.attempts == attempt) & (column.steps > step))
    if attempt == 0:
        fresh = column.steps > step
    return replace(
        column,
        steps=column.steps[fresh],
        times=column.times[fresh],
        values=column.values[fresh],
        attempts=column.attempts[fresh],
    )
