"""Every answer has one shape and the headers that keep a browser at home; health says which part fails."""

from __future__ import annotations

import ast
import gzip
import re
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from plotly.offline import get_plotlyjs, get_plotlyjs_version
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from foreshock_server import migrate
from foreshock_server.app import create_app
from foreshock_server.db import Database
from foreshock_server.settings import Settings


@pytest.fixture
def database_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'foreshock.db'}"


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/runs", "/api/v1/nothing", "/docs"])
def test_every_answer_says_what_a_browser_may_not_do(client, path):
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]  # so 'self': no inline script, no eval
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_errors_have_one_shape(client):
    for answer, status, error in (
        (client.get("/api/v1/nothing"), 404, "NotFound"),
        (client.delete("/api/v1/runs"), 405, "MethodNotAllowed"),
        (client.get("/api/v1/runs?limit=many"), 422, "Invalid"),
        (client.put("/api/v1/runs/x", content=b"{"), 422, "Invalid"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert answer.json()["detail"]
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_fault_of_ours_is_500_without_a_trace(migrated_url, settings, monkeypatch):
    def fault(_session: object) -> None:
        raise ValueError("a secret of the inside")

    monkeypatch.setattr("foreshock_server.query.endpoint.projects", fault)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        answer = client.get("/api/v1/projects")
    assert (answer.status_code, answer.json()["error"]) == (500, "InternalError")
    assert "secret" not in answer.text


def test_a_database_that_does_not_answer_is_503_with_a_time_to_try_again(client, trainer, wire, monkeypatch):
    def away(*_args: object, **_named: object) -> None:
        raise OperationalError("INSERT", {}, Exception("disk I/O error; password=hunter2"))

    monkeypatch.setattr("foreshock_server.ingest.committer.store_all", away)
    answer = trainer.post(trainer.block(1))
    assert (answer.status_code, answer.json()["error"]) == (503, "DatabaseAway")
    assert float(answer.headers["retry-after"]) > 0
    assert "hunter2" not in answer.text
    monkeypatch.undo()
    assert trainer.send(1) == 1


def test_a_commit_that_fails_is_not_acknowledged(client, trainer, monkeypatch):
    hints: list[str] = []
    client.app.state.bus.subscribe(hints.append)

    def fails(_session: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("database or disk is full"))

    monkeypatch.setattr("sqlalchemy.orm.Session.commit", fails)
    monkeypatch.setattr("sqlalchemy.orm.SessionTransaction.commit", fails)
    answer = trainer.post(trainer.block(1))
    assert (answer.status_code, answer.json()["error"]) == (503, "StorageFull")
    assert hints == []  # nor hinted at
    monkeypatch.undo()
    assert client.get("/metrics").text.count('foreshock_points_stored{state="running"} 0.0') == 1


@pytest.mark.postgres
def test_a_postgresql_that_is_gone_is_503(postgres_url, settings):
    database = Database(postgres_url)
    migrate.to_head(database)
    database.close()
    gone = re.sub(r":\d+/", ":1/", postgres_url)
    with TestClient(create_app(settings.model_copy(update={"database_url": gone}))) as client:
        assert client.get("/api/v1/runs").status_code == 503
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "refused" in ready.json()["checks"]["database"]["reason"]
        assert ready.json()["checks"]["bus"]["status"] == "ok"


@pytest.mark.postgres
def test_connections_that_the_server_dropped_cost_no_answer(postgres_url, settings):
    with TestClient(create_app(settings.model_copy(update={"database_url": postgres_url}))) as client:
        migrate.to_head(client.app.state.database)
        assert client.get("/api/v1/runs").status_code == 200
        with (
            client.app.state.database.engine.connect() as connection
        ):  # the pool's only one, given back at once
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
        other = Database(postgres_url)
        with other.writing() as session:
            assert session.scalar(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        other.close()
        assert client.get("/api/v1/runs").status_code == 200


def test_the_docs_list_every_route_and_ask_no_other_host(client):
    page = client.get("/docs").text
    for path in client.app.openapi()["paths"]:
        assert path in page
    assert re.search(r"(?:src|href|action|url)\s*[=(]\s*[\"']?(?:\w+:)?//", page) is None
    assert "<script" not in page


def test_plotly_is_the_one_of_the_plotly_package_and_kept_for_good(client):
    moving = client.get("/assets/plotly.js", follow_redirects=False)
    assert moving.headers["cache-control"] == "no-cache"
    address = moving.headers["location"]
    assert address == f"/assets/plotly-{get_plotlyjs_version()}.min.js"
    answer = client.get(address)
    assert answer.text == get_plotlyjs()
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert int(answer.headers["content-length"]) < len(get_plotlyjs()) / 2
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text
    old = client.get("/assets/plotly-1.0.0.min.js", follow_redirects=False)
    assert old.headers["location"] == address


def test_the_bundle_packed_twice_is_the_same(client):
    from foreshock_server.app import page

    assert gzip.decompress(page._plotly()[1]) == page._plotly()[0]


@pytest.mark.parametrize("path", ["/", "/runs/some-run", "/runs/a.b", "/rules", "/settings", "/login"])
def test_every_address_of_the_page_is_its_one_file(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert answer.text.lower().startswith("<!doctype html>")
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_nothing_outside_the_page_is_served(client):
    for path in ("/../settings.py", "/%2e%2e/settings.py", "/..%2f..%2fpyproject.toml", "/__init__.py"):
        assert client.get(path).status_code in (400, 404)


def test_large_answers_are_compressed(client, trainer, wire):
    trainer.send(1, [wire.rows(1, range(2000), [[1]] * 2000)], [wire.frame(1, ["a"])])
    answer = client.get("/api/v1/runs/run-1/data?key=a")
    assert answer.headers["content-encoding"] == "gzip"


def test_nobody_but_db_commits():
    package = Path(str(files("foreshock_server")))
    found = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("commit", "begin_nested")
    ]
    # `with sessions.begin()` in db.py commits, nobody says the word; and a part of a transaction is undone there alone
    assert found == ["db.py"]


def test_a_setting_that_is_wrong_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="port"):
        Settings(data_dir=tmp_path, port=70_000)
