"""One run as a notebook holds it: its fields, series, figures, alerts."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from .columns import SeriesView
from .connection import Connection
from .errors import ForeshockError, no_such
from .figures import Figures
from .following import CHANGES, News, follow
from .reading import Known, meant, read
from .tables import Table

if TYPE_CHECKING:
    import plotly.graph_objects

    from .embedding import Page

PORTION = 1_000_000  # readings in memory at a time, where a series is read in portions
INCIDENT = ("number", "family", "severity", "state", "rules", "opened_step", "resolved_step", "muted")


class RunView:
    """One run as it was when it was asked for; `refresh` asks again."""

    def __init__(self, connection: Connection, fields: Mapping[str, Any]) -> None:
        self.connection = connection
        self.fields = dict(fields)  # everything that the server said
        self.figures = Figures(self)
        self._known: list[dict[str, Any]] | None = None

    @property
    def id(self) -> str:
        """What the run is called in addresses."""
        return str(self.fields["id"])

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.fields["name"])

    @property
    def project(self) -> str:
        """What it belongs to."""
        return str(self.fields["project"])

    @property
    def state(self) -> str:
        """running, silent, finished or failed."""
        return str(self.fields["state"])

    @property
    def verdict(self) -> str:
        """fine, watch or collapsing; none: no rule has looked yet."""
        return str(self.fields["verdict"])

    @property
    def last_step(self) -> int | None:
        """The last step that arrived; None before the first."""
        step: int | None = self.fields["last_step"]
        return step

    @property
    def url(self) -> str:
        """Its page."""
        return str(self.fields["url"])

    @property
    def config(self) -> dict[str, Any]:
        """The configuration it was started with."""
        return dict(self._details()["config"])

    @property
    def note(self) -> str:
        """What people wrote about it; empty: nothing."""
        return self._details()["note"] or ""

    def write_note(self, text: str) -> None:
        """Write this about the run instead of what is there, as plain text; empty: nothing. Needs a key with admin."""
        self.connection.send("PATCH", "/runs", {"runs": [self.id], "note": text})
        self.refresh()

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Its lives: state, times, host, versions, commit."""
        return list(self._details()["attempts"])

    def refresh(self) -> RunView:
        """Ask again; returns itself."""
        self.fields = self.connection.json(self.path())
        self._known = None
        return self

    def again(self) -> RunView:
        """The run as it is now, as an object of its own; this one stays as it was."""
        return RunView(self.connection, self.connection.json(self.path()))

    def series_list(self) -> Table:
        """Every series of the run: key, statistic, place, unit, steps, last reading."""
        if self._known is None:
            self._known = self.connection.json(self.path("/series"))["series"]
        return Table(self._known, ("key", "family", "unit", "points", "last_step", "last"), "no series yet")

    def series(
        self,
        name: str,
        *,
        points: int = 0,
        first: int | None = None,
        last: int | None = None,
        entries: Sequence[str | int] = (),
        superseded: bool = False,
    ) -> SeriesView:
        """The readings of the series with this key; a statistic read at several places gives all of them.

        `points` asks for about so many per series, thinned so that no extreme and no NaN is lost; 0 gives all.
        `first` and `last` bound the steps. Of vectors `entries` asks for some, by number from 0 or by name.
        What a resumed run recorded anew replaces what was there before; `superseded` gives both.
        """
        asked: list[tuple[str, Any]] = [("points", points)]
        asked += [(bound, at) for bound, at in (("first", first), ("last", last)) if at is not None]
        asked += [("superseded", "true")] if superseded else []
        wanted = list(dict.fromkeys(map(str, entries)))
        found = read(self.connection, self.path("/data"), self._find(name), asked, wanted)
        return SeriesView(found, self.name)

    def portions(
        self,
        name: str,
        *,
        readings: int = PORTION,
        first: int | None = None,
        last: int | None = None,
        superseded: bool = False,
    ) -> Iterator[SeriesView]:
        """The same readings as `series`, stretch of steps after stretch of steps, each of about so many: for what is larger than memory.

        Of vectors each entry counts. A portion without a reading is left out.
        """
        if readings < 1:
            raise ValueError(f"readings={readings} is no number of readings; write 1 or more")
        begun = [one for one in self._find(name) if one["first_step"] is not None]
        if not begun:
            return
        low = min(one["first_step"] for one in begun) if first is None else first
        # An earlier attempt may have gone further than the last reading: the last portion has no end of its own.
        high = max(one["last_step"] for one in begun)
        width = max(1, (high - low + 1) * readings // max(1, sum(one["points"] for one in begun)))
        while last is None or low <= last:
            end: int | None = low + width - 1
            final = low + width > high or (last is not None and low + width > last)
            if final:
                end = last
            part = self.series(name, first=low, last=end, superseded=superseded)
            if len(part):
                yield part
            if final:
                return
            low += width

    def follow(
        self,
        *names: str,
        since: int | None = None,
        every: float = 1.0,
        seconds: float | None = None,
    ) -> Iterator[News]:
        """What is new of a live run, as it comes: `for news in run.follow("policy_entropy"): print(news.step, news.run.verdict)`.

        The first news comes at once. Each has `run` as it is then, `series` with the new readings of each name (a key, or a statistic
        at all its places), and `changes` of alerts. `since` begins with the readings from that step on; without it only what comes
        from now on is told. At most one news in `every` seconds. It ends when the run is over and everything of it has arrived, or
        after `seconds`. A server that is away is waited for; a deleted run ends it with ForeshockError.
        """
        return follow(self, names, since=since, every=every, seconds=seconds)

    def figure(
        self,
        name: str,
        theme: Literal["light", "dark", "none"] | None = None,
        *,
        keys: Sequence[str] = (),
        x: Literal["step", "time", "tokens"] | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> plotly.graph_objects.Figure:
        """The figure that the page draws, as an object to change, show or save. `keys`: for the figure `series`, which.

        `x`: what the axis counts (steps unless said). `first`, `last`: of these steps alone, ends included, in all their detail.
        """
        return self.figures.draw(name, theme, keys, {"x": x, "first": first, "last": last})

    def page(self, height: int = 800) -> Page:
        """The live page of this run inside the notebook, so many pixels high."""
        from .embedding import Page

        return Page(self.url, height)

    def report(self, path: str | os.PathLike[str], theme: Literal["light", "dark"] = "light") -> Path:
        """The run as one HTML file at `path` (a folder: under the run's id): verdict, alerts, figures; it asks no other host for anything."""
        return self._save("/report", path, "html", {"theme": theme})

    def export(self, path: str | os.PathLike[str]) -> Path:
        """The whole run as a Parquet file at `path` (a folder: under the run's id), for any tool, or `foreshock import`."""
        return self._save("/export", path, "parquet")

    def ceiling(self, *, entropy: str | None = None, reward: str | None = None) -> dict[str, Any]:
        """What the reward comes to when all entropy is spent, R = −a·exp(H) + b: `status`, `message`, `fit` with its interval.

        `entropy` and `reward` are keys of series; without them the first rank's own. `withheld` says why in `reason`.
        """
        asked = {name: key for name, key in (("entropy", entropy), ("reward", reward)) if key is not None}
        return self.connection.json(self.path("/ceiling"), asked)

    def alerts(self) -> Table:
        """Every alert that a rule ever raised in this run; `state` says which fire now."""
        found = self.connection.json(self.path("/alerts"))["alerts"]
        return Table(
            found,
            ("rule", "severity", "state", "series", "since_step", "fired_step", "resolved_step", "message"),
            "no alerts",
        )

    def incidents(self) -> Table:
        """What was told about this run, and what was not (`muted`): alerts of one family that fired at the same time are one incident."""
        return Table(self.connection.json(self.path("/incidents"))["incidents"], INCIDENT, "no incidents")

    def acknowledge(self, number: int) -> None:
        """Say that somebody looks after this incident: nobody is reminded, and no further channel is called."""
        self.connection.request("POST", self.path(f"/incidents/{number:d}/acknowledge"))

    def transitions(self) -> Table:
        """Every firing and resolution, in the order in which they happened."""
        found = self.connection.json(self.path("/alerts"))["transitions"]
        return Table(found, CHANGES, "nothing fired yet")

    def _find(self, name: str) -> list[Known]:
        for attempt in ("known", "asked again"):
            known = self.series_list()
            chosen = meant(known, name)
            if chosen or attempt == "asked again":
                break
            self._known = None  # a running run may have got it since
        if not chosen:
            raise ForeshockError(
                no_such(
                    name,
                    f"series of {self.name}",
                    [one["key"] for one in known],
                    [one["statistic"] for one in known],
                ),
                code="UnknownSeries",
            )
        return chosen

    def _details(self) -> dict[str, Any]:
        if "config" not in self.fields:  # lists leave it out
            self.refresh()
        return self.fields

    def _save(self, what: str, path: str | os.PathLike[str], suffix: str, query: Any = ()) -> Path:
        place = Path(path)
        if place.is_dir():
            place = place / f"{self.id}.{suffix}"
        return self.connection.save(self.path(what), place, query)

    def path(self, further: str = "") -> str:
        """Where the REST API has it, below /api/v1."""
        return f"/runs/{quote(self.id, safe='')}{further}"

    def __repr__(self) -> str:
        step = "no step yet" if self.last_step is None else f"step {self.last_step:,}"
        return f"<Run {self.project}/{self.name}: {self.state}, {step}, verdict {self.verdict}, id {self.id}>"

    def _repr_html_(self) -> str:
        link = f'<a href="{html.escape(self.url)}">{html.escape(f"{self.project}/{self.name}")}</a>'
        return f"{link} {html.escape(repr(self).partition(': ')[2].rstrip('>'))}"
