"""The revisions say what the models say, can be taken back, and one process at a time applies them."""

from __future__ import annotations

import re
import threading
from importlib.resources import files
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from foreshock_server import migrate
from foreshock_server.db import Database
from foreshock_server.models import Base, Run


@pytest.fixture
def empty(database_url):
    database = Database(database_url)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        names = inspect(connection).get_table_names()
    return {name for name in names if not re.fullmatch(r".*_p\d\d", name)}  # partitions


def test_upgrade_then_check_is_clean(empty):
    assert migrate.to_head(empty) == [
        "0001",
        "0002",
        "0003",
        "0004",
        "0005",
        "0006",
        "0007",
        "0008",
        "0009",
        "0010",
    ]
    with empty.migrating() as connection:
        migrate.check(connection)
        assert migrate.pending(connection) == []
    assert tables(empty) == set(Base.metadata.tables) | {"alembic_version"}
    assert migrate.to_head(empty) == []


@pytest.mark.postgres
def test_what_grows_with_the_readings_is_partitioned_by_run(postgres_url):
    empty = Database(postgres_url)
    migrate.to_head(empty)
    count = (
        "SELECT inhparent::regclass::text, count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent"
    )
    count += " WHERE c.relkind = 'p' AND c.relnamespace = current_schema()::regnamespace GROUP BY 1"
    with empty.engine.connect() as connection:
        found = {name.rpartition(".")[2]: number for name, number in connection.execute(text(count))}
    empty.close()
    assert found == dict.fromkeys(("blocks", "clocks", "segments", "rollups"), 16)


def test_check_sees_a_column_that_the_models_do_not_have(empty):
    migrate.to_head(empty)
    with empty.migrating() as connection:
        connection.execute(text("ALTER TABLE runs ADD COLUMN mood TEXT"))
    with pytest.raises(Exception, match="mood"), empty.migrating() as connection:
        migrate.check(connection)


def test_up_down_up_is_clean(empty):
    migrate.to_head(empty)
    with empty.migrating() as connection:
        migrate.downgrade(connection, "base")
    assert tables(empty) == {"alembic_version"}
    migrate.to_head(empty)
    with empty.migrating() as connection:
        migrate.check(connection)


def test_a_revision_that_fails_leaves_nothing_behind(empty, monkeypatch):
    def fails(connection, revision="head"):
        upgrade(connection, revision)
        raise RuntimeError("at the very end")

    upgrade = migrate.upgrade
    monkeypatch.setattr(migrate, "upgrade", fails)
    with pytest.raises(RuntimeError):
        migrate.to_head(empty)
    assert tables(empty) == set()


def test_processes_that_start_at_once_migrate_once(database_url):
    applied, failures = [], []

    def start() -> None:
        database = Database(database_url)  # its own lock: only the database's own can keep them apart
        try:
            applied.extend(migrate.to_head(database))
        except Exception as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert applied == ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010"]


def test_those_who_open_a_new_file_at_once_wait_for_each_other(tmp_path):
    failures = []

    def opens(path: Path) -> None:
        database = Database(f"sqlite:///{path}")
        try:
            with database.reading():
                pass
        except Exception as error:
            failures.append(error)
        finally:
            database.close()

    for i in range(40):  # one of nine went wrong while nobody waited
        threads = [threading.Thread(target=opens, args=[tmp_path / f"{i}.db"]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_what_is_stored_survives_a_start(empty):
    migrate.to_head(empty)
    with empty.writing() as session:
        session.add(
            Run(id="r", project="p", name="", config={"a": 1}, state="running", created_at=1, updated_at=1)
        )
    migrate.to_head(empty)
    with empty.reading() as session:
        assert session.get_one(Run, "r").config == {"a": 1}


def test_every_revision_has_a_number_a_sentence_and_a_way_back():
    versions = sorted((Path(str(files("foreshock_migrations"))) / "versions").glob("*.py"))
    for i, path in enumerate(versions, start=1):
        source = path.read_text()
        assert re.fullmatch(rf"{i:04}_\w+\.py", path.name)
        assert f'revision = "{i:04}"' in source
        assert re.match(r'"""[A-Z].*\.\n', source)
        assert "op." in source.split("def downgrade")[1]


def test_every_table_with_volume_begins_its_key_with_the_run():
    for name in ("attempts", "writers", "series", "frames", "blocks", "alerts", "transitions"):
        assert next(iter(Base.metadata.tables[name].primary_key.columns)).name == "run_id"
