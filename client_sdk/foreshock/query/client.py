"""Questions from a notebook -> runs, series as columns, figures, alerts; and what ends a run. Needs no torch and starts no thread."""

from __future__ import annotations

import difflib
import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

import urllib3

from foreshock.config import Config

from .backtest import Backtest, pack_text
from .columns import ARROW, Column, SeriesView, from_arrow, from_json, needs, part_of, with_arrays
from .tables import Table, as_html, as_text

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects

__all__ = ["Client", "ForeshockError", "RunView", "SeriesView", "Table"]

CONNECT_SECONDS = 5.0
READ_SECONDS = 120.0  # between two pieces of an answer: a server may think long about a large one
_LONGEST_QUERY = 6000  # characters of keys in one request; servers and proxies refuse lines much longer
_PAGE = 500
_INCIDENT = ("number", "family", "severity", "state", "rules", "opened_step", "resolved_step", "muted")
_PIECE = 2**20  # bytes of a file that is read


class ForeshockError(Exception):
    """The server could not answer; the message is its own sentence."""

    def __init__(self, sentence: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status  # HTTP status; None when there was no answer
        self.code = code  # such as UnknownRun


class RunView:
    """One run as it was when it was asked for; `refresh` asks again."""

    _SHOWN = ("project", "name", "state", "verdict", "last_step", "points", "id")

    def __init__(self, client: Client, fields: Mapping[str, Any]) -> None:
        self._client = client
        self.fields = dict(fields)  # everything that the server said
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
    def attempts(self) -> list[dict[str, Any]]:
        """Its lives: state, times, host, versions, commit."""
        return list(self._details()["attempts"])

    def refresh(self) -> RunView:
        """Ask again; returns itself."""
        self.fields = self._client._json(self._path())
        self._known = None
        return self

    def series_list(self) -> Table:
        """Every series of the run: key, statistic, place, unit, steps, last reading."""
        if self._known is None:
            self._known = self._client._json(self._path("/series"))["series"]
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
        columns: dict[str, Column] = {}
        chosen = self._find(name)
        asked: list[tuple[str, Any]] = [("points", points)]
        asked += [(bound, at) for bound, at in (("first", first), ("last", last)) if at is not None]
        asked += [("superseded", "true")] if superseded else []
        for some in _of_one_size(chosen):
            for batch in _batches(some):
                found = self._read(batch, asked, list(dict.fromkeys(map(str, entries))))
                columns.update((column.key, column) for column in found)
        return SeriesView([columns[one["key"]] for one in chosen], self.name)

    def figures(self) -> Table:
        """The figures that this run's series allow."""
        found = self._client._json(self._path("/figures"))["figures"]
        return Table(found, ("name", "title", "family", "state"), "no figures yet")

    def figure(
        self, name: str, theme: Literal["light", "dark", "none"] | None = None, *, keys: Sequence[str] = ()
    ) -> plotly.graph_objects.Figure:
        """The figure that the page draws, as an object to change, show or save. `keys`: for the figure `series`, which."""
        graph_objects = needs("plotly.graph_objects", "figure()")
        query: list[tuple[str, str]] = [("theme", theme)] if theme else []
        query += [("key", key) for key in keys]
        try:
            body = self._client._get(self._path(f"/figures/{quote(name, safe='')}"), query)
        except ForeshockError as error:
            if error.code != "UnknownFigure":
                raise
            known = [str(one["name"]) for one in self.figures()]
            raise ForeshockError(
                _no_such(name, f"figure of {self.name}", known), status=error.status, code=error.code
            ) from None
        drawn: plotly.graph_objects.Figure = graph_objects.Figure(with_arrays(json.loads(body)))
        return drawn

    def ceiling(self, *, entropy: str | None = None, reward: str | None = None) -> dict[str, Any]:
        """What the reward comes to when all entropy is spent, R = −a·exp(H) + b: `status`, `message`, `fit` with its interval.

        `entropy` and `reward` are keys of series; without them the first rank's own. `withheld` says why in `reason`.
        """
        asked = {name: key for name, key in (("entropy", entropy), ("reward", reward)) if key is not None}
        return self._client._json(self._path("/ceiling"), asked)

    def alerts(self) -> Table:
        """Every alert that a rule ever raised in this run; `state` says which fire now."""
        found = self._client._json(self._path("/alerts"))["alerts"]
        return Table(
            found,
            ("rule", "severity", "state", "series", "since_step", "fired_step", "resolved_step", "message"),
            "no alerts",
        )

    def incidents(self) -> Table:
        """What was told about this run, and what was not (`muted`): alerts of one family that fired at the same time are one incident."""
        return Table(self._client._json(self._path("/incidents"))["incidents"], _INCIDENT, "no incidents")

    def acknowledge(self, number: int) -> None:
        """Say that somebody looks after this incident: nobody is reminded, and no further channel is called."""
        self._client._request("POST", self._path(f"/incidents/{number:d}/acknowledge"))

    def transitions(self) -> Table:
        """Every firing and resolution, in the order in which they happened."""
        found = self._client._json(self._path("/alerts"))["transitions"]
        return Table(found, ("kind", "rule", "severity", "series", "step"), "nothing fired yet")

    def _read(
        self,
        batch: Sequence[Mapping[str, Any]],
        asked: Sequence[tuple[str, Any]],
        entries: Sequence[str],
    ) -> list[Column]:
        query: list[tuple[str, Any]] = [*(("key", one["key"]) for one in batch), *asked]
        axes = {one["key"]: one.get("axis") for one in batch}
        if entries and all(axes.values()):
            query += [("entry", one) for one in entries]
            axes = {key: part_of(axis, entries) for key, axis in axes.items() if axis}
        places = {one["key"]: one["place"] for one in batch}
        if not _has_arrow():
            return from_json(self._client._get(self._path("/data"), query), places)
        body = self._client._get(self._path("/data"), query, accept=ARROW)
        return from_arrow(body, places, {one["key"]: one["unit"] for one in batch}, axes)

    def _find(self, name: str) -> list[dict[str, Any]]:
        for attempt in ("known", "asked again"):
            known = self.series_list()
            chosen = [one for one in known if one["key"] == name] or [
                one for one in known if one["statistic"] == name
            ]
            if chosen or attempt == "asked again":
                break
            self._known = None  # a running run may have got it since
        if not chosen:
            raise ForeshockError(
                _no_such(
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

    def _path(self, further: str = "") -> str:
        return f"/runs/{quote(self.id, safe='')}{further}"

    def __repr__(self) -> str:
        step = "no step yet" if self.last_step is None else f"step {self.last_step:,}"
        return f"<Run {self.project}/{self.name}: {self.state}, {step}, verdict {self.verdict}, id {self.id}>"

    def _repr_html_(self) -> str:
        link = f'<a href="{html.escape(self.url)}">{html.escape(f"{self.project}/{self.name}")}</a>'
        return f"{link} {html.escape(repr(self).partition(': ')[2].rstrip('>'))}"


def _name_of(run: str | RunView) -> str:
    return run if isinstance(run, str) else run.id


class RunList(list[RunView]):
    """Runs, the latest first."""

    def to_pandas(self) -> pandas.DataFrame:
        """One row per run with everything the list says about it."""
        frame: pandas.DataFrame = needs("pandas", "to_pandas()").DataFrame([run.fields for run in self])
        return frame

    def __repr__(self) -> str:
        return as_text(RunView._SHOWN, self._rows(), "no runs")

    def _repr_html_(self) -> str:
        return as_html(RunView._SHOWN, self._rows(), "no runs")

    def _rows(self) -> list[list[Any]]:
        return [[run.fields.get(name) for name in RunView._SHOWN] for run in self]


class Client:
    """A server's data for notebooks. `url` and `api_key` default to FORESHOCK_URL and FORESHOCK_API_KEY."""

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        config = Config.resolve(url=url, api_key=api_key)
        self.url = config.url
        self._headers = {"User-Agent": "foreshock-client"}
        if config.api_key:
            self._headers["Authorization"] = f"Bearer {config.api_key}"
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(CONNECT_SECONDS, READ_SECONDS))

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
                return RunView(self, self._json(f"/runs/{quote(id_or_name, safe='')}"))
            except ForeshockError as error:
                if error.status != 404:
                    raise
        known = list(self._pages(None, None, _PAGE))
        named = [run for run in known if id_or_name in (run.name, f"{run.project}/{run.name}")]
        if not named:
            names = [run.name for run in known]
            raise ForeshockError(
                _no_such(id_or_name, "run", [run.id for run in known], names), status=404, code="UnknownRun"
            )
        if len(named) > 1:
            ids = ", ".join(f"{run.id} ({run.project})" for run in named[:10])
            raise ForeshockError(
                f"{len(named)} runs are called {id_or_name!r}; write the id of one: {ids}.",
                code="AmbiguousRun",
            )
        return named[0]

    def projects(self) -> Table:
        """Every project with its runs and readings, and for how many days a run is kept after its last change."""
        return Table(
            self._json("/projects")["projects"],
            ("project", "runs", "points", "retention_days"),
            "no projects",
        )

    def incidents(self, project: str | None = None, *, state: str = "open", limit: int = 200) -> Table:
        """What goes on in all runs, the latest first; `state`: open, resolved or all."""
        query: dict[str, Any] = {"state": state, "limit": limit}
        query |= {} if project is None else {"project": project}
        return Table(self._json("/incidents", query)["incidents"], ("name", *_INCIDENT), "no incidents")

    def silences(self, *, over: bool = False) -> Table:
        """What is not told at present; with `over` also what was not in the last 30 days."""
        found = self._json("/silences", {"over": str(over).lower()})["silences"]
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
        made: dict[str, Any] = json.loads(self._request("POST", "/silences", body=json.dumps(wish).encode()))
        return str(made["id"])

    def unsilence(self, silence: str) -> None:
        """Take the silence with this id back."""
        self._request("DELETE", f"/silences/{quote(silence, safe='')}")

    def delete(self, id_or_name: str) -> None:
        """Delete the run with this id or name for good: its readings, figures and alerts. A process that still sends goes on training."""
        self._request("DELETE", f"/runs/{quote(self.run(id_or_name).id, safe='')}")

    def export(self, id_or_name: str, path: str | os.PathLike[str]) -> Path:
        """The whole run as a Parquet file at `path` (a folder: under the run's id), for any tool, or `foreshock import`."""
        run = self.run(id_or_name)
        place = Path(path)
        if place.is_dir():
            place = place / f"{run.id}.parquet"
        answer = self._open("GET", run._path("/export"), (), {"Accept": "*/*"})
        unfinished = place.with_name(f".{place.name}.part")
        try:
            with unfinished.open("wb") as file:
                for piece in answer.stream(_PIECE):
                    file.write(piece)
            unfinished.replace(place)
        except urllib3.exceptions.HTTPError as error:
            raise ForeshockError(f"The connection broke off while {run.id} was read: {error}.") from error
        finally:
            answer.release_conn()
            unfinished.unlink(missing_ok=True)
        return place

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
        body = json.dumps(wish).encode()
        return Backtest(json.loads(self._request("POST", "/rules/backtest", body=body)))

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
        found: dict[str, Any] = json.loads(
            self._request("POST", "/rules/suggest", body=json.dumps(wish).encode())
        )
        return found

    def keep(self, project: str, days: float | None) -> None:
        """Delete the runs of this project so many days after their last change; None: keep them for good."""
        body = json.dumps({"retention_days": days}).encode()
        self._request("PUT", f"/projects/{quote(project, safe='/')}", body=body)

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """What the REST API answers at /api/v1/{path}, for what has no method here: `get("deliveries", run=run.id)`."""
        return self._json("/" + path.lstrip("/"), query)

    def close(self) -> None:
        """Let go of connections."""
        self._pool.clear()

    def __repr__(self) -> str:
        return f"<foreshock.Client of {self.url}>"

    def _pages(self, project: str | None, state: str | None, limit: int) -> Iterator[RunView]:
        query: dict[str, Any] = {"limit": max(1, min(limit, _PAGE))}
        query |= {
            name: value for name, value in (("project", project), ("state", state)) if value is not None
        }
        while True:
            page = self._json("/runs", query)
            yield from (RunView(self, fields) for fields in page["runs"])
            if not page.get("next"):
                return
            query["before"] = page["next"]

    def _json(self, path: str, query: Any = ()) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._get(path, query))
        return answer

    def _get(self, path: str, query: Any = (), accept: str = "application/json") -> bytes:
        return self._request("GET", path, query, {"Accept": accept})

    def _request(
        self,
        method: str,
        path: str,
        query: Any = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> bytes:
        if body is not None:
            headers = {"Content-Type": "application/json", **(headers or {})}
        answer = self._open(method, path, query, headers, body)
        try:
            return answer.read()
        except urllib3.exceptions.HTTPError as error:
            raise self._nobody(error) from error
        finally:
            answer.release_conn()

    def _open(
        self,
        method: str,
        path: str,
        query: Any = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """An answer of status 200 or 201 whose body is still to be read; else ForeshockError."""
        asked = f"{self.url}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._pool.request(
                method,
                asked,
                body=body,
                headers={**self._headers, **(headers or {})},
                redirect=False,
                preload_content=False,
                retries=urllib3.Retry(1 if method == "GET" else 0, connect=0, redirect=0),
            )
            if answer.status in (200, 201):
                return answer
            said = answer.read()
        except urllib3.exceptions.HTTPError as error:
            raise self._nobody(error) from error
        answer.release_conn()
        raise _error(self.url, answer.status, said)

    def _nobody(self, error: Exception) -> ForeshockError:
        reason = getattr(error, "reason", None) or error
        return ForeshockError(
            f"No Foreshock server answers at {self.url} ({reason}). Is `foreshock serve` running there?"
        )


def _error(url: str, status: int, body: bytes) -> ForeshockError:
    """What the server said; or that this is no Foreshock server."""
    try:
        said = json.loads(body)
        sentence, code = said["detail"], said.get("error")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ForeshockError(
            f"{url} answered {status}, and not as a Foreshock server does. Is the address right?",
            status=status,
        )
    return ForeshockError(
        sentence if isinstance(sentence, str) else json.dumps(sentence), status=status, code=code
    )


def _batches(chosen: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    length = 0
    for one in chosen:
        size = len(quote(one["key"])) + 5
        if batch and length + size > _LONGEST_QUERY:
            yield batch
            batch, length = [], 0
        batch.append(one)
        length += size
    yield batch


def _of_one_size(chosen: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Numbers together, and vectors of one size: what one answer in Arrow can hold."""
    groups: dict[int | None, list[dict[str, Any]]] = {}
    for one in chosen:
        axis = one.get("axis")
        groups.setdefault(None if axis is None else axis["size"], []).append(one)
    return list(groups.values())


def _has_arrow() -> bool:
    try:
        needs("pyarrow.ipc", "reading Arrow")
    except ImportError:
        return False
    return True


def _no_such(name: str, what: str, *known: Sequence[str]) -> str:
    """A sentence that names what is close, or else what there is."""
    names = list(dict.fromkeys(word for words in known for word in words))
    close = (
        difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        or [word for word in names if name.lower() in word.lower()][:5]
    )
    if close:
        return f"There is no {what} called {name!r}; did you mean {' or '.join(map(repr, close))}?"
    some = ", ".join(map(repr, names[:10])) + (" …" if len(names) > 10 else "")
    return f"There is no {what} called {name!r}; " + (f"there are {some}." if names else "there is none yet.")
