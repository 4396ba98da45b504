"""Everything about a run that is not a reading <-> one JSON object: run, attempts, writers, series, alerts, transitions,
incidents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from foreshock_server.exchange.layout import FORMAT
from foreshock_server.models import (
    Alert,
    Attempt,
    Base,
    Incident,
    Merge,
    Run,
    Series,
    Tag,
    Transition,
    Writer,
)
from foreshock_server.store.runs import list_writers
from foreshock_server.store.series import NewSeries, key_hash, list_series
from foreshock_server.store.shelf import tags_of

_RUN = ("id", "project", "name", "config", "state", "created_at")
_SAID = ("owner", "note", "note_by", "note_at")  # by people
_ATTEMPT = ("attempt", "state", "info", "started_at", "finished_at")
_WRITER = ("attempt", "writer", "acked_seq", "final_seq", "dropped", "lost", "cost", "seen_at")
_SERIES = ("key", "statistic", "family", "place", "labels", "unit", "dtype", "about", "axis")
_MERGE = ("attempt", "step", "yardsticks")
_INCIDENT = tuple(
    column.name
    for column in Incident.__table__.columns
    if column.name not in ("run_id", "next_at", "secret")  # what was told elsewhere is not told again here
)
_RANK = re.compile(r"r\d+-.*")  # a writer that is a rank
_OWN = ("run_id", "series_id")  # said otherwise: the file's run, and the series' key


def describe(session: Session, run: Run, now: float, release: str) -> dict[str, Any]:
    """What a file says about the run; `exported` alone depends on when and where it was written."""
    series = list_series(session, run.id)
    keys = {row.series_id: row.key for row in series}
    writers = list_writers(session, run.id)
    ranks = acknowledged_of_ranks(writers)
    return {
        "format": FORMAT,
        "exported": {"at": now, "release": release, "updated_at": run.updated_at, "points": run.points},
        "run": _fields(run, _RUN),
        "said": {**_fields(run, _SAID), "tags": tags_of(session, [run.id]).get(run.id, [])},
        "attempts": [_fields(row, _ATTEMPT) for row in _all(session, Attempt, run.id)],
        "writers": [_fields(row, _WRITER) for row in writers],
        "series": [_fields(row, _SERIES) for row in series],
        "alerts": [_keyed(row, keys) for row in _all(session, Alert, run.id)],
        "transitions": [_keyed(row, keys) for row in _all(session, Transition, run.id)],
        "incidents": [_fields(row, _INCIDENT) for row in _all(session, Incident, run.id)],
        "merges": [
            {**_fields(row, _MERGE), "complete": row.seen >= ranks.get(row.attempt, 0)}
            for row in _all(session, Merge, run.id)
        ],
    }


def as_new(one: Mapping[str, Any]) -> NewSeries:
    """A series of the description as frames name it."""
    return NewSeries(**{name: one[name] for name in _SERIES})


def add_series(session: Session, run_id: str, series: Sequence[Mapping[str, Any]]) -> None:
    """The rows of the series, numbered in their order, counting nothing yet."""
    rows = [
        {
            "run_id": run_id,
            "series_id": number,
            "key_hash": key_hash(one["key"]),
            "points": 0,
            "nonfinite": 0,
            **one,
        }
        for number, one in enumerate(series, start=1)
    ]
    _insert(session, Series, rows)


def add_said(session: Session, run: Run, about: Mapping[str, Any]) -> None:
    """What people had said about the run."""
    said = about.get("said", {})  # files of earlier releases have none
    for name in _SAID:
        setattr(run, name, said.get(name))
    _insert(session, Tag, [{"run_id": run.id, "tag": tag} for tag in dict.fromkeys(said.get("tags", ()))])


def add_attempts(session: Session, run_id: str, attempts: Sequence[Mapping[str, Any]]) -> None:
    """The rows of the attempts."""
    _insert(session, Attempt, [{"run_id": run_id, **one} for one in attempts])


def add_alerts(session: Session, run_id: str, about: Mapping[str, Any]) -> None:
    """Alerts and their changes as they were. No message goes out: nobody is to be paged for what is long over."""
    numbers = {one["key"]: number for number, one in enumerate(about["series"], start=1)}
    for model, name in ((Alert, "alerts"), (Transition, "transitions")):
        rows = [
            {
                "run_id": run_id,
                "series_id": numbers[one["series"]],
                **{k: v for k, v in one.items() if k != "series"},
            }
            for one in about[name]
        ]
        _insert(session, model, rows)
    told = about.get("incidents", ())  # files of earlier releases have none
    own = {"run_id": run_id, "next_at": None, "secret": ""}
    _insert(session, Incident, [{**one, **own} for one in told])


def add_merges(session: Session, run_id: str, about: Mapping[str, Any]) -> None:
    """How far ranks were merged. What had not been looked at yet is, by and by; call it when the writers are there."""
    ranks = acknowledged_of_ranks(list_writers(session, run_id))
    rows = [
        {
            "run_id": run_id,
            "seen": ranks.get(one["attempt"], 0) if one["complete"] else 0,
            **{name: one[name] for name in _MERGE},
        }
        for one in about["merges"]
    ]
    _insert(session, Merge, rows)


def acknowledged_of_ranks(writers: Iterable[Writer]) -> dict[int, int]:
    """Of each attempt, how many blocks of ranks are acknowledged: what the merger of ranks compares with what it saw."""
    counted: dict[int, int] = {}
    for one in writers:
        if _RANK.fullmatch(one.writer):
            counted[one.attempt] = counted.get(one.attempt, 0) + one.acked_seq
    return counted


def _all(session: Session, model: type[Base], run_id: str) -> Iterable[Any]:
    table = model.__table__
    return session.scalars(select(model).where(table.c.run_id == run_id).order_by(*table.primary_key))


def _fields(row: Base, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _keyed(row: Base, keys: Mapping[int, str]) -> dict[str, Any]:
    names = [column.name for column in row.__table__.columns if column.name not in _OWN]
    return {"series": keys[row.series_id], **_fields(row, names)}  # type: ignore[attr-defined]  # both models have it


def _insert(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        session.execute(insert(model), rows)
