"""A Parquet file of one run -> the run, stored through the same functions as what arrives, hidden until all of it is there.

It goes in by transactions of a few million values, so that ingest of others is not held up. Killed in between it stays hidden: the
next import of the run begins anew, and what nobody goes on with is cleaned up (lifecycle/cleanup.py).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy.orm import Session

from foreshock_server.db import Database
from foreshock_server.errors import Invalid, RunExists
from foreshock_server.exchange import records
from foreshock_server.exchange.layout import about_of
from foreshock_server.exchange.packing import pack
from foreshock_server.exchange.readings import Portion, digest, of_file, of_run
from foreshock_server.models import Attempt, Run
from foreshock_server.store import blocks
from foreshock_server.store.latest import list_series
from foreshock_server.store.once import insert_once
from foreshock_server.store.removal import CLEANED, IMPORTING, remove_some
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import LIFE_BITS, ensure_writer, touch
from foreshock_server.store.series import NewFrame, register_frames

AT_ONCE = 2_000_000  # values in memory and in one transaction
_RUN_ID = re.compile(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*")

_WriterKey = tuple[int, str]  # attempt, writer


@dataclass(frozen=True)
class Imported:
    """What came of it."""

    run: str
    points: int
    series: int
    known: bool  # the same run was there already, and nothing was done


@dataclass
class _State:
    """How far the import of one file has come."""

    run_id: str
    about: Mapping[str, Any]
    token: float  # tells this import from a later one of the same run
    waiting: dict[_WriterKey, list[Portion]] = field(default_factory=lambda: defaultdict(list))
    held: int = 0
    seqs: dict[_WriterKey, int] = field(default_factory=dict)
    frames: dict[_WriterKey, dict[tuple[str, tuple[int, ...]], int]] = field(
        default_factory=lambda: defaultdict(dict)
    )


def import_run(database: Database, path: Path, now: float, *, name: str | None = None) -> Imported:
    """Store the run of this file, under the id `name` if given.

    RunExists when another run has that id; a run that is the same already is left as it is. Invalid when the file is none.
    """
    try:
        with pq.ParquetFile(path) as file:
            about = about_of(file.schema_arrow, path.name)
        return _import(database, path, about, now, name or str(about["run"]["id"]))
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise Invalid(
            f"{path.name} is damaged, or was not written by `foreshock export`: {error}."
        ) from error


def _import(database: Database, path: Path, about: Mapping[str, Any], now: float, run_id: str) -> Imported:
    if not (len(run_id) <= 64 and _RUN_ID.fullmatch(run_id)):
        raise Invalid(f"{run_id!r} cannot be the id of a run: 1 to 64 of A-Z a-z 0-9 . _ -", field="as")
    if _is_there(database, run_id):
        if _same(database, run_id, path, about):
            return Imported(run_id, about["exported"]["points"], len(about["series"]), known=True)
        raise RunExists(
            f"A run {run_id!r} is here already, and it is another one; give this one another id with --as NEWNAME."
        )
    _make_room(database, run_id)
    state = _State(run_id, about, now)
    _begin(database, state)
    try:
        for portion in of_file(path, about["series"]):
            state.waiting[portion.attempt, portion.writer].append(portion)
            state.held += portion.values.size
            if state.held >= AT_ONCE:
                _store(database, state)
        _store(database, state)
        return _finish(database, state, now)
    except RunExists:
        raise
    except BaseException:
        _abandon(database, state)
        raise


def _is_there(database: Database, run_id: str) -> bool:
    with database.reading() as session:
        run = session.get(Run, run_id)
        return run is not None and run.deleted_at is None


def _same(database: Database, run_id: str, path: Path, about: Mapping[str, Any]) -> bool:
    """Whether the run that is here has the same description and, bit for bit, the same readings."""
    with database.reading() as session:
        here = records.describe(session, session.get_one(Run, run_id), 0.0, "")
        for part in ("run", "attempts", "series"):
            there, ours = about[part], here[part]
            if part == "run":
                there, ours = {**there, "id": ""}, {**ours, "id": ""}
            if there != ours:
                return False
        stored = digest(of_run(session, run_id, list_series(session, run_id)))
    return stored == digest(of_file(path, about["series"]))


def _make_room(database: Database, run_id: str) -> None:
    """What is left of a deleted run of this id, or of an import that was killed, goes first."""
    with database.writing() as session:
        run = session.get(Run, run_id, with_for_update=True)
        if run is not None and run.state == IMPORTING:
            run.state = (
                "failed"  # hidden still: from here on it is a deleted run, and its import, if it lives, stops
            )
    removed = 1
    while removed:
        with database.writing() as session:
            removed = remove_some(session, run_id)
    with database.writing() as session:
        run = session.get(Run, run_id, with_for_update=True)
        if run is not None and run.state == CLEANED:
            session.delete(run)


def _begin(database: Database, state: _State) -> None:
    about = state.about["run"]
    with database.writing() as session:
        made = insert_once(
            session,
            Run,
            {
                "id": state.run_id,
                "project": about["project"],
                "name": about["name"],
                "config": about["config"],
                "state": IMPORTING,
                "created_at": about["created_at"],
                "updated_at": state.token,
                "revision": int(state.token) << LIFE_BITS,
                "points": 0,
                "deleted_at": state.token,
            },
        )
        if not made:
            raise RunExists(f"Another import of {state.run_id!r} began just now; wait for it.")
        records.add_said(session, session.get_one(Run, state.run_id), state.about)
        records.add_series(session, state.run_id, state.about["series"])
        records.add_attempts(session, state.run_id, state.about["attempts"])


def _abandon(database: Database, state: _State) -> None:
    """What was stored so far is a deleted run."""
    with database.writing() as session:
        _hold(session, state).state = "failed"


def _hold(session: Session, state: _State) -> Run:
    run = session.get(Run, state.run_id, with_for_update=True, populate_existing=True)
    if run is None or (run.state, run.deleted_at) != (IMPORTING, state.token):
        raise RunExists(f"Another import of {state.run_id!r} began and goes on; this one has stopped.")
    return run


def _store(database: Database, state: _State) -> None:
    """What waits becomes blocks, one of each writer, in one transaction."""
    if not state.held:
        return
    with database.writing() as session:
        run = _hold(session, state)
        for key, portions in state.waiting.items():
            groups = _groups(session, state, key, portions)
            writer = ensure_writer(session, state.run_id, *key, now=state.token)
            seq = state.seqs[key] = state.seqs.get(key, 0) + 1
            blocks.append(session, writer, seq, groups, state.token)
            writer.evaluated_seq = writer.acked_seq  # the rules have nothing to say about what is long over
            _count(session, run, key[0], groups)
        run.updated_at += 1e-6  # it is at work
    state.waiting.clear()
    state.held = 0


def _groups(session: Session, state: _State, key: _WriterKey, portions: Iterable[Portion]) -> list[RowGroup]:
    series, known = state.about["series"], state.frames[key]
    groups = []
    for packed in pack(list(portions), [one["dtype"] for one in series]):
        frame = known.get((packed.dtype, packed.series))
        if frame is None:
            frame = known[packed.dtype, packed.series] = len(known) + 1
            named = [records.as_new(series[place]) for place in packed.series]
            register_frames(session, state.run_id, *key, [NewFrame(frame, packed.dtype, named)])
        groups.append(RowGroup(frame, packed.steps, packed.times, packed.values, None))
    return groups


def _count(session: Session, run: Run, attempt: int, groups: Iterable[RowGroup]) -> None:
    """What ingest counts of each block: see ingest/service.py."""
    row = session.get_one(Attempt, (run.id, attempt))
    for group in groups:
        run.points += group.present
        first, last = int(group.steps[0]), int(group.steps[-1])
        row.first_step = first if row.first_step is None else min(row.first_step, first)
        if run.last_attempt is None or (run.last_attempt, run.last_step or 0) <= (attempt, last):
            run.last_attempt, run.last_step = attempt, last


def _finish(database: Database, state: _State, now: float) -> Imported:
    """Alerts, cursors and the run itself as they were told; from here on everybody sees it."""
    with database.writing() as session:
        run = _hold(session, state)
        for one in state.about["writers"]:
            writer = ensure_writer(session, run.id, one["attempt"], one["writer"], now=now)
            for name in ("final_seq", "dropped", "lost", "cost", "seen_at"):
                setattr(writer, name, one[name])
            blocks.raise_floor(session, writer, one["acked_seq"] + 1)
            writer.evaluated_seq = writer.acked_seq
        session.flush()
        records.add_alerts(session, run.id, state.about)
        records.add_merges(session, run.id, state.about)
        run.state, run.deleted_at = state.about["run"]["state"], None
        points = run.points
        touch(session, run.id, now)
    return Imported(state.run_id, points, len(state.about["series"]), known=False)
