"""A whole database goes to another engine and back: nothing is lost by a kill, and one wrong bit is seen."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest
from sqlalchemy import func, select, text, update

from foreshock_server import cli, migrate
from foreshock_server.db import Database
from foreshock_server.exchange import moving
from foreshock_server.exchange.checksums import canonical, checksum
from foreshock_server.exchange.moving import CannotMove, move
from foreshock_server.models import Base, Block, Channel, Key, Project, Run

SAID: list[str] = []


def contents(database: Database) -> dict[str, object]:
    with database.engine.connect() as connection:
        return {
            table.name: checksum(connection.execute(select(table))) for table in Base.metadata.sorted_tables
        }


def fill(maker, database: Database, runs: int = 3) -> None:
    make = maker(database)
    for number in range(runs):
        make.rich(f"run-{number}")
    with database.writing() as session:
        session.add(Project(name="p", retention_days=0.1 + 0.2, created_at=1e9 / 3))
        session.add(
            Channel(
                id="c",
                name="c",
                kind="webhook",
                config={"url": "u", "größe": [1.0, 1, None, True]},
                project=None,
                enabled=True,
                origin="api",
                created_at=-0.0,
            )
        )
        session.add(Key(id="k", digest="d" * 64, name="k", project=None, scopes=["read"], created_at=1.5))


@pytest.fixture
def embedded(fresh, maker) -> Database:
    database = fresh("sqlite")
    fill(maker, database)
    return database


@pytest.fixture
def empty(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    yield database
    database.close()


@pytest.fixture
def away(postgres_url):
    database = Database(postgres_url)
    yield database
    database.close()


@pytest.mark.postgres
def test_from_sqlite_to_postgresql_and_back(embedded, away, empty):
    before = contents(embedded)
    embedded.close()
    moved = move(embedded, away, SAID.append)
    assert moved.runs == 3
    assert moved.rows == sum(one.rows for one in before.values())
    assert contents(away) == before
    assert move(away, empty, SAID.append) == moved
    assert contents(empty) == before
    with empty.engine.connect() as connection:
        assert not migrate.is_unfinished(connection)
        migrate.check(connection)


def kill_after(flushes: int, source: str, target: str) -> int:
    """`migrate --from --to` that is killed with signal 9 after so many transactions of the target."""
    script = (
        "import os, signal, sys\n"
        "from foreshock_server import cli\n"
        "from foreshock_server.db import Database\n"
        "from foreshock_server.exchange import moving\n"
        "from contextlib import contextmanager\n"
        "moving.MOST_ROWS, left, writing = 2, [int(sys.argv[1])], Database.writing\n"
        "@contextmanager\n"
        "def counted(self):\n"
        "    with writing(self) as session: yield session\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Database.writing = counted\n"
        "sys.exit(cli.migrate(['--from', sys.argv[2], '--to', sys.argv[3]]))\n"
    )
    words = [sys.executable, "-c", script, str(flushes), source, target]
    return subprocess.run(
        words, env=dict(os.environ), timeout=120, check=False, capture_output=True
    ).returncode


@pytest.mark.postgres
@pytest.mark.slow
def test_a_kill_at_any_moment_costs_only_time(embedded, away, empty, capsys):
    before = contents(embedded)
    embedded.close()
    for flushes in (3, 9, 25):
        assert kill_after(flushes, embedded.url, away.url) == -9
    with pytest.raises(CannotMove, match=r"half filled from"):
        move(empty_source(empty), away, SAID.append)
    assert cli.migrate(["--from", embedded.url, "--to", away.url]) == 0
    assert "the same on both sides" in capsys.readouterr().out
    assert contents(away) == before
    assert kill_after(12, away.url, empty.url) == -9
    assert cli.migrate(["--from", away.url, "--to", empty.url]) == 0
    assert contents(empty) == before


def empty_source(database: Database) -> Database:
    """Another source than the one that was begun with."""
    source = Database(database.url.replace("empty.db", "another.db"))
    migrate.to_head(source)
    return source


def test_a_server_does_not_start_on_a_half_filled_database(embedded, empty, monkeypatch, capsys):
    embedded.close()
    with monkeypatch.context() as patched:
        patched.setattr(moving, "_compare", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            move(embedded, empty, SAID.append)
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", empty.url)
    assert cli.serve(["--port", "0"]) == 1
    assert "has not ended" in capsys.readouterr().err
    assert move(embedded, empty, SAID.append).runs == 3


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda session: session.execute(
            update(Block).where(Block.run_id == "run-1", Block.seq == 1).values(rows=b"x")
        ),
        lambda session: session.execute(
            update(Run).where(Run.id == "run-2").values(config={"lr": 1.0000001e-5})
        ),
        lambda session: session.execute(text("DELETE FROM series WHERE run_id = 'run-0' AND series_id = 2")),
        lambda session: session.execute(text("UPDATE transitions SET at = at + 1e-6 WHERE run_id = 'run-0'")),
    ],
    ids=["blob", "json", "missing", "float"],
)
def test_a_corrupted_row_is_caught_and_copied_anew(embedded, empty, monkeypatch, corrupt):
    before = contents(embedded)
    embedded.close()
    compare = moving._compare

    def corrupted(source, target, parts):
        with target.writing() as session:
            assert corrupt(session).rowcount > 0
        return compare(source, target, parts)

    with monkeypatch.context() as patched:
        patched.setattr(moving, "_compare", corrupted)
        with pytest.raises(CannotMove, match=r"of run run-\d"):
            move(embedded, empty, SAID.append)
    move(embedded, empty, SAID.append)
    assert contents(empty) == before


def test_a_row_too_many_is_caught(embedded, empty, monkeypatch):
    embedded.close()
    compare = moving._compare

    def grown(source, target, parts):
        with target.writing() as session:
            session.add(
                Run(id="x", project="p", name="", config={}, state="running", created_at=1, updated_at=1)
            )
        return compare(source, target, parts)

    monkeypatch.setattr(moving, "_compare", grown)
    with pytest.raises(CannotMove, match="more than the source in runs"):
        move(embedded, empty, SAID.append)


def test_what_cannot_be_copied_is_said(embedded, fresh, empty, maker, capsys, tmp_path):
    full = fresh("sqlite")
    maker(full).run("mine")
    embedded.close()
    with pytest.raises(CannotMove, match="holds something already"):
        move(embedded, full, SAID.append)
    with pytest.raises(CannotMove, match="the same database"):
        move(embedded, embedded, SAID.append)
    bare = Database(f"sqlite:///{tmp_path / 'bare.db'}")
    sqlite3.connect(tmp_path / "bare.db").close()
    with pytest.raises(CannotMove, match="lacks 0001"):
        move(bare, empty, SAID.append)
    assert cli.migrate(["--from", "sqlite:////no/where.db", "--to", empty.url]) == 1
    assert "There is no database file" in capsys.readouterr().err


def test_a_source_that_a_server_has_open_is_refused(embedded, empty):
    with embedded.reading() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 3
        other = Database(embedded.url)
        with pytest.raises(CannotMove, match="in use by another process"):
            move(other, empty, SAID.append)
        other.close()
    embedded.close()
    assert move(embedded, empty, SAID.append).runs == 3


@pytest.mark.postgres
def test_a_source_that_somebody_writes_to_is_refused(away, empty, maker):
    migrate.to_head(away)
    maker(away).run("r")
    with away.writing() as session:
        session.execute(update(Run).values(name="busy"))
        with pytest.raises(CannotMove, match="in use by another process"):
            move(Database(away.url), empty, SAID.append)
    assert move(away, empty, SAID.append).runs == 1


def test_the_sum_of_rows_knows_values_apart():
    apart = [
        None,
        "",
        "x",
        b"x",
        0,
        1,
        1.0,
        0.5,
        float("inf"),
        {},
        {"a": 1},
        {"a": 1.0},
        [],
        [1],
        "None",
        "1",
    ]
    assert len({canonical(value) for value in apart}) == len(apart)
    assert canonical(-0.0) == canonical(0.0)
    assert canonical(True) == canonical(1)
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1})
    assert canonical(memoryview(b"x")) == canonical(b"x")
