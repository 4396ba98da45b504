"""Runs of every kind, in databases of both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy.orm import Session

from foreshock_server import migrate
from foreshock_server.db import Database
from foreshock_server.exchange.layout import about_of
from foreshock_server.models import Alert, Attempt, Incident, Run, Transition
from foreshock_server.store import blocks, runs, shelf
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.series import NewFrame, NewSeries, register_frames


class Maker:
    """Puts runs into a database as ingest does."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def run(self, run_id: str = "run-1", project: str = "p", **more: Any) -> None:
        with self.database.writing() as session:
            self.open(session, run_id, project, **more)

    def open(
        self, session: Session, run_id: str, project: str = "p", attempt: int = 1, writer: str = "r0-aaaa"
    ) -> None:
        runs.open_run(
            session,
            run_id,
            project=project,
            name="brisk-otter",
            config={"lr": 1e-5, "nested": {"Größe": [1, None, "NaN"]}},
            attempt=attempt,
            writer=writer,
            info={"host": "n17"},
            started_at=1.79e9,
            now=1.8e9,
        )

    def block(
        self,
        run_id: str,
        seq: int,
        frame: int,
        names: list[str],
        steps: Any,
        values: Any,
        *,
        dtype: str = "f32",
        attempt: int = 1,
        writer: str = "r0-aaaa",
        absent: Any = None,
        times: Any = None,
        axis: dict[str, Any] | None = None,
    ) -> None:
        """One block with one row group; `axis` makes a vector of each series."""
        steps = np.asarray(steps, np.int64)
        with self.database.writing() as session:
            self.open(session, run_id, attempt=attempt, writer=writer)
            run = runs.lock_run(session, run_id)
            row = runs.ensure_writer(session, run_id, attempt, writer, now=1.8e9)
            series = [
                NewSeries(
                    name,
                    name.partition("{")[0],
                    "training",
                    "",
                    {"of": name},
                    "nat",
                    dtype,
                    {"title": name},
                    axis,
                )
                for name in names
            ]
            register_frames(session, run_id, attempt, writer, [NewFrame(frame, dtype, series)])
            group = RowGroup(
                frame,
                steps,
                np.asarray(1e9 + steps * 0.1 if times is None else times, np.float64),
                np.asarray(values, {"f32": "<f4", "f64": "<f8"}[dtype]).reshape(len(steps), -1),
                None if absent is None else np.asarray(absent, np.bool_).reshape(len(steps), -1),
            )
            if blocks.append(session, row, seq, [group], 1.8e9):
                run.points += group.present
                first = session.get_one(Attempt, (run_id, attempt))
                first.first_step = min(
                    int(steps[0]), first.first_step if first.first_step is not None else int(steps[0])
                )
                if run.last_attempt is None or (run.last_attempt, run.last_step or 0) <= (
                    attempt,
                    int(steps[-1]),
                ):
                    run.last_attempt, run.last_step = attempt, int(steps[-1])
            session.flush()

    def alarm(self, run_id: str, series_id: int = 1, state: str = "firing") -> None:
        """An alert of the run, with its history."""
        about: dict[str, Any] = {
            "run_id": run_id,
            "rule": "rank-collapse",
            "series_id": series_id,
            "episode": 1,
        }
        with self.database.writing() as session:
            session.add(
                Alert(
                    **about,
                    severity="critical",
                    state=state,
                    attempt=1,
                    memory={"window": [1.5, 2.5], "low": "NaN"},
                    reading={"value": 0.1, "message": "it falls"},
                    fired_step=2,
                    since_step=1,
                    last_step=3,
                )
            )
            session.add(
                Transition(
                    **about,
                    severity="critical",
                    kind="fired",
                    step=2,
                    since_step=1,
                    at=1.5e9 + 0.1,
                    created_at=1.6e9,
                    detail={"value": 0.1},
                )
            )
            session.add(
                Incident(
                    run_id=run_id,
                    number=series_id,
                    family="representation",
                    state="open",
                    severity="critical",
                    inhibits=False,
                    firing=[["rank-collapse", series_id, 1, False]],
                    rules=["rank-collapse"],
                    opened_step=2,
                    opened_at=1.6e9,
                    told_at=1.6e9 + 0.1,
                    next_at=1.7e9,
                    secret="not to be told",
                )
            )

    def rich(self, run_id: str = "run-1") -> None:
        """Two attempts, two ranks, both types, vectors, absent readings, steps that go back, and everything not finite."""
        odd = [[np.nan, 1], [np.inf, -0.0], [-np.inf, 1e-45]]
        self.block(run_id, 1, 1, ["loss", "grad"], [0, 1, 2], odd)
        self.block(run_id, 2, 1, ["loss", "grad"], [3, 4], [[1, 2], [3, 4]], absent=[[1, 0], [0, 0]])
        self.block(run_id, 3, 1, ["loss", "grad"], [2, 3], [[7, 8], [9, 10]])  # the step goes back
        self.block(run_id, 4, 2, ["reward"], [0, 2**53, 2**62], [[0.1], [np.pi], [np.nan]], dtype="f64")
        self.block(run_id, 1, 1, ["loss{rank=1}"], range(5), np.arange(5) / 3, writer="r1-bbbb")
        self.block(
            run_id, 5, 3, ["spectrum"], [1, 2], [[1, 2, 3], [4, np.nan, 6]], axis={"name": "index", "size": 3}
        )
        self.block(run_id, 1, 1, ["loss", "grad"], [3, 4], [[30, 40], [50, 60]], attempt=2)
        self.alarm(run_id)
        with self.database.writing() as session:
            said = shelf.Change(owner="ada", note="why:\nlr × 2", by="a key", add_tags=("sweep", "a100"))
            shelf.apply(session, [run_id], said, 1.8e9)
        with self.database.writing() as session:
            runs.finish_attempt(
                session, run_id, 2, state="finished", at=1.81e9, last_seq={"r0-aaaa": 1}, now=1.8e9
            )
            row = runs.ensure_writer(session, run_id, 1, "r0-aaaa", now=1.8e9)
            row.dropped, row.lost, row.cost = 7, {"spool full": 7}, {"wall_seconds": 1.5}


class Table:
    """A file as a reader of Parquet sees it."""

    def __init__(self, path: Path) -> None:
        self.table = pq.read_table(path)
        self.about = about_of(self.table.schema, path.name)

    def content(self, *, but_run: bool = False) -> dict[str, Any]:
        """Every column, numbers as their bits, so that NaN equals itself."""
        found: dict[str, Any] = {}
        for name in self.table.column_names:
            column = self.table[name].combine_chunks()
            if name in ("time", "value"):
                found[name] = np.asarray(column).view(np.int64).tolist()
            else:
                found[name] = column.to_pylist()
        if but_run:
            del found["run"]
        return found

    def told(self) -> dict[str, Any]:
        """What it says beside the readings, without when and where it was written."""
        return {name: value for name, value in self.about.items() if name != "exported"}


@pytest.fixture
def make(database: Database) -> Maker:
    return Maker(database)


@pytest.fixture
def maker() -> type[Maker]:
    return Maker


@pytest.fixture
def table() -> type[Table]:
    return Table


@pytest.fixture
def other(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    """A second database, embedded."""
    path = tmp_path / "other.db"
    path.write_bytes(migrated_file.read_bytes())
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """Further databases of either engine, each brought to this release."""
    made: list[Database] = []

    def new(kind: str) -> Database:
        url = (
            request.getfixturevalue("postgres_url")
            if kind == "postgres"
            else f"sqlite:///{tmp_path / f'fresh-{len(made)}.db'}"
        )
        database = Database(url)
        migrate.to_head(database)
        made.append(database)
        return database

    yield new
    for database in made:
        database.close()


def hidden(session: Session, run_id: str) -> bool:
    """Whether nobody may see the run."""
    run = session.get(Run, run_id)
    return run is None or run.deleted_at is not None
