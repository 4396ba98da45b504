"""Questions from a notebook -> runs, series as columns, figures, alerts; and what ends a run. Needs no torch and starts no thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from .backtest import Backtest, pack_text
from .columns import SeriesView
from .compare import Align, Group, Theme, compared
from .connection import Connection
from .errors import ForeshockError, no_such
from .run import INCIDENT, RunView
from .runs import RunList
from .tables import Table

if TYPE_CHECKING:
    import plotly.graph_objects

__all__ = ["Client", "ForeshockError", "RunView", "SeriesView", "Table"]

PAGE = 500  # runs in one answer


def _name_of(run: str | RunView) -> str:
    return run if isinstance(run, str) else run.id


def _given(**query: Any) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


class Client:
    """A server's data for notebooks. `url` and `api_key` default to FORESHOCK_URL and FORESHOCK_API_KEY."""

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.connection = Connection(url, api_key)

    @property
    def url(self) -> str:
        """The server's address."""
        return self.connection.url

    def runs(self, project: str | None = None, *, state: str | None = None, limit: int = 100) -> RunList:
        """The latest runs, of one project or one state if asked."""
        found = RunList()
        for run in self._pages(project, state, limit):
            if len(found) == limit:
                break
            found.append(run)
        return found

    def run(self, id_or_name: str) -> RunView:
        """The run with this id, or this name (also as `project/name`) if exactly one has it."""
        if "/" not in id_or_name:
            try:
                return RunView(self.connection, self.connection.json(f"/runs/{quote(id_or_name, safe='')}"))
            except ForeshockError as error:
                if error.status != 404:
                    raise
        known = list(self._pages(None, None, PAGE))
        named = [run for run in known if id_or_name in (run.name, f"{run.project}/{run.name}")]
        if not named:
            names = [run.name for run in known]
            raise ForeshockError(
                no_such(id_or_name, "run", [run.id for run in known], names), status=404, code="UnknownRun"
            )
        if len(named) > 1:
            ids = ", ".join(f"{run.id} ({run.project})" for run in named[:10])
            raise ForeshockError(
                f"{len(named)} runs are called {id_or_name!r}; write the id of one: {ids}.",
                code="AmbiguousRun",
            )
        return named[0]

    def compare(
        self,
        runs: Iterable[str | RunView],
        key: str,
        *,
        align: Align = "step",
        rule: str | None = None,
        group: Group = "none",
        healthy: Iterable[str | RunView] | Literal["auto"] = (),
        columns: int = 0,
        theme: Theme | None = None,
    ) -> plotly.graph_objects.Figure:
        """One series of several runs in one figure, as the page's comparison draws it; `columns` sets them side by side.

        `group="seeds"` makes a mean and a range of runs whose configurations differ in seeds alone. `healthy` are runs whose range is
        drawn behind; `"auto"`: of the same projects those tagged `healthy`, else those that ended well.
        `figure.layout.meta` says which runs are `left_out`, and why.
        """
        return compared(
            self.connection,
            [(self.run(one) if isinstance(one, str) else one).id for one in runs],
            key,
            align=align,
            rule=rule,
            group=group,
            healthy=["auto"] if healthy == "auto" else [_name_of(one) for one in healthy],
            columns=columns,
            theme=theme,
        )

    def projects(self) -> Table:
        """Every project with its runs and readings, and for how many days a run is kept after its last change."""
        return Table(
            self.connection.json("/projects")["projects"],
            ("project", "runs", "points", "retention_days"),
            "no projects",
        )

    def alerts(self, project: str | None = None, *, state: str = "firing", limit: int = 200) -> Table:
        """What fires now in all runs (`state="pending"`: what is about to), critical first."""
        found = self.connection.json("/alerts", _given(state=state, limit=limit, project=project))["alerts"]
        return Table(found, ("name", "rule", "severity", "series", "since_step", "message"), "no alerts")

    def rules(self) -> Table:
        """Every rule in force with all its parameters and its runbook; `origin` says where it comes from."""
        found = self.connection.json("/rules")["rules"]
        return Table(found, ("id", "title", "family", "severity", "origin"), "no rules")

    def statistics(self) -> Table:
        """Every statistic that was ever recorded here, with its unit, range and source."""
        found = self.connection.json("/statistics")["statistics"]
        return Table(found, ("statistic", "family", "unit", "title"), "no statistics yet")

    def incidents(self, project: str | None = None, *, state: str = "open", limit: int = 200) -> Table:
        """What goes on in all runs, the latest first; `state`: open, resolved or all."""
        query = _given(state=state, limit=limit, project=project)
        return Table(
            self.connection.json("/incidents", query)["incidents"], ("name", *INCIDENT), "no incidents"
        )

    def silences(self, *, over: bool = False) -> Table:
        """What is not told at present; with `over` also what was not in the last 30 days."""
        found = self.connection.json("/silences", {"over": str(over).lower()})["silences"]
        return Table(found, ("id", "matches", "reason", "made_by", "ends_at", "in_force"), "no silences")

    def silence(
        self, seconds: float, reason: str = "", *, labels: Mapping[str, str] | None = None, **matches: str
    ) -> str:
        """Tell nobody for so long of alerts that fit: globs for project, run, family, rule, statistic, place, severity. Its id, for
        `unsilence`."""
        wish = {
            "matches": {**matches, **({"labels": dict(labels)} if labels else {})},
            "seconds": seconds,
            "reason": reason,
        }
        return str(self.connection.send("POST", "/silences", wish)["id"])

    def unsilence(self, silence: str) -> None:
        """Take the silence with this id back."""
        self.connection.request("DELETE", f"/silences/{quote(silence, safe='')}")

    def delete(self, id_or_name: str) -> None:
        """Delete the run with this id or name for good: its readings, figures and alerts. A process that still sends goes on training."""
        self.connection.request("DELETE", f"/runs/{quote(self.run(id_or_name).id, safe='')}")

    def export(self, id_or_name: str, path: str | os.PathLike[str]) -> Path:
        """The whole run as a Parquet file at `path` (a folder: under the run's id), for any tool, or `foreshock import`."""
        return self.run(id_or_name).export(path)

    def backtest(
        self,
        pack: str | os.PathLike[str] | None = None,
        *,
        runs: Sequence[str | RunView] = (),
        healthy: Sequence[str | RunView] = (),
        outcomes: Mapping[str, int] | None = None,
        rules: Sequence[str] = (),
    ) -> Backtest:
        """Where rules would have fired in stored runs, by the code that judges runs while they go on. Stores nothing.

        `pack` is the path of a rule pack, or its text; None: the rules in force, of which `rules` names some. `runs` went wrong,
        `healthy` did not; `outcomes` says at which step people saw it, and the lead is counted from it.
        """
        wish: dict[str, Any] = {
            "rules": list(rules),
            "runs": [_name_of(one) for one in runs],
            "healthy": [_name_of(one) for one in healthy],
            "outcomes": dict(outcomes or {}),
        }
        if pack is not None:
            wish["pack"] = pack_text(pack)
        return Backtest(self.connection.send("POST", "/rules/backtest", wish))

    def suggest(
        self,
        rule: str,
        healthy: Sequence[str | RunView],
        rate: float,
        *,
        pack: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """The threshold with which the rule fires in at most this share of runs like these healthy ones, and what it rests on.

        `threshold` is None where too few runs were given to promise that, and `refused` says so.
        """
        wish: dict[str, Any] = {"rule": rule, "healthy": [_name_of(one) for one in healthy], "rate": rate}
        if pack is not None:
            wish["pack"] = pack_text(pack)
        return self.connection.send("POST", "/rules/suggest", wish)

    def keep(self, project: str, days: float | None) -> None:
        """Delete the runs of this project so many days after their last change; None: keep them for good."""
        self.connection.send("PUT", f"/projects/{quote(project, safe='/')}", {"retention_days": days})

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """What the REST API answers at /api/v1/{path}, for what has no method here: `get("deliveries", run=run.id)`."""
        return self.connection.json("/" + path.lstrip("/"), query)

    def close(self) -> None:
        """Let go of connections."""
        self.connection.close()

    def __repr__(self) -> str:
        return f"<foreshock.Client of {self.url}>"

    def _pages(self, project: str | None, state: str | None, limit: int) -> Iterator[RunView]:
        query = _given(limit=max(1, min(limit, PAGE)), project=project, state=state)
        while True:
            page = self.connection.json("/runs", query)
            yield from (RunView(self.connection, fields) for fields in page["runs"])
            if not page.get("next"):
                return
            query["before"] = page["next"]
