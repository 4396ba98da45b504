"""What every tier shares: a database per test, made by the migrations, on SQLite and, where it is reachable, on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import settings as drawing
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from foreshock_server import migrate
from foreshock_server.app import create_app
from foreshock_server.db import Database
from foreshock_server.settings import Settings

# The same examples each time, so that what passes here passes everywhere; `make fuzz` draws others.
drawing.register_profile("same", derandomize=True, database=None, deadline=None)
drawing.register_profile(
    "fuzz", deadline=None, max_examples=int(os.environ.get("FORESHOCK_TEST_EXAMPLES", "2000"))
)
drawing.load_profile("fuzz" if "FORESHOCK_TEST_EXAMPLES" in os.environ else "same")

# Read when torch and its compiler are imported, here and in the processes that tests start. A thread each: those of one process wait for
# one another busily, and cores that several processes share then do little else. Inductor compiles in the process that asks for it, for
# what the CPU says it can: its pool imports torch again in each of its processes, and trying each instruction set takes its time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")

STRICT = os.environ.get("FORESHOCK_TEST_STRICT") == "1"


def _service(variable: str) -> str:
    """The address of a service that a test needs; without it the test skips, or fails where all services must be there."""
    url = os.environ.get(variable)
    if not url:
        reason = f"set {variable} to run this"
        if STRICT:
            pytest.fail(reason)
        pytest.skip(reason)
    return url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty schema of its own in the PostgreSQL database of FORESHOCK_TEST_DATABASE_URL, dropped afterwards."""
    url = make_url(_service("FORESHOCK_TEST_DATABASE_URL"))
    schema = f"test_{uuid.uuid4().hex}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def redis_url() -> str:
    """The Redis of FORESHOCK_TEST_REDIS_URL."""
    return _service("FORESHOCK_TEST_REDIS_URL")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: each test that asks for it runs on both engines."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'foreshock.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file made by the migrations, once: to copy it takes a hundredth of the time."""
    path = tmp_path_factory.mktemp("migrated") / "foreshock.db"
    database = Database(f"sqlite:///{path}")
    migrate.to_head(database)
    database.close()
    return path


@pytest.fixture
def migrated_url(database_url: str, migrated_file: Path) -> str:
    """The URL of a database made by the migrations."""
    file = make_url(database_url).database if database_url.startswith("sqlite") else None
    if file is not None:
        shutil.copy(migrated_file, file)
    else:
        database = Database(database_url)
        migrate.to_head(database)
        database.close()
    return database_url


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    """A database made by the migrations."""
    database = Database(migrated_url)
    yield database
    database.close()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings over that database, with nothing taken from the environment but what the test sets."""
    # TestClient calls the server "testserver", and a server without a key answers to no name but its own;
    # and the receivers of tests are on this machine, which channels may not reach unless it is allowed.
    return Settings(
        database_url=database_url,
        data_dir=tmp_path,
        workers=False,
        public_url="http://testserver",
        private_targets="all",
    )


@pytest.fixture
def client(migrated_url: str, settings: Settings) -> Iterator[TestClient]:
    """The whole application over a database of its own; `client.app.state` has what is inside."""
    with TestClient(create_app(settings)) as client:
        yield client
