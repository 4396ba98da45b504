"""`export`, `import`, `runs delete` and `projects` as people call them, against files and a running server."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest
from starlette.requests import Request

from foreshock import Client, commands
from foreshock.query.client import ForeshockError
from foreshock_server import cli
from foreshock_server.db import Database
from foreshock_server.exchange import endpoint


@pytest.fixture
def url(database, monkeypatch) -> str:
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", database.url)
    return database.url


def test_runs_go_out_and_come_in(url, make, table, tmp_path, other, monkeypatch, capsys):
    make.rich()
    make.rich("run-2")
    make.run("elsewhere", project="q")
    out = tmp_path / "out"
    assert cli.export(["--project", "p", "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["run-1.parquet", "run-2.parquet"]
    assert "run-1 -> " in capsys.readouterr().out
    assert cli.export(["elsewhere", "-o", str(tmp_path / "one.parquet")]) == 0
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", other.url)
    assert cli.import_([str(out), str(tmp_path / "one.parquet")]) == 0
    assert capsys.readouterr().out.count("is here now") == 3
    assert cli.import_([str(out)]) == 0
    assert capsys.readouterr().out.count("was here already, the same") == 2
    assert cli.export(["run-2", "-o", str(tmp_path / "again.parquet")]) == 0
    assert table(tmp_path / "again.parquet").content() == table(out / "run-2.parquet").content()


def test_what_cannot_be_is_said_in_a_sentence(url, make, tmp_path, capsys):
    make.rich()
    (tmp_path / "x.parquet").write_text("nonsense")
    for words, sentence in (
        (lambda: cli.export(["nobody"]), "No run has this id"),
        (lambda: cli.export(["--project", "nobody"]), "foreshock projects list"),
        (lambda: cli.export(["run-1", "-o", str(tmp_path / "no" / "where.parquet")]), "Cannot use"),
        (lambda: cli.import_([str(tmp_path / "none.parquet")]), "There is no file"),
        (lambda: cli.import_([str(tmp_path / "x.parquet")]), "is damaged"),
        (lambda: cli.import_([str(tmp_path / "x.parquet")] * 2 + ["--as", "y"]), "one file at a time"),
    ):
        assert words() == 1
        assert sentence in capsys.readouterr().err


def test_over_http_it_is_the_same_file(make, table, tmp_path, client, database):
    make.rich()
    answer = client.get("/api/v1/runs/run-1/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert 'filename="run-1.parquet"' in answer.headers["content-disposition"]
    (tmp_path / "http.parquet").write_bytes(answer.content)
    from foreshock_server.exchange.export import export_run

    export_run(database, "run-1", tmp_path / "file.parquet")
    assert table(tmp_path / "http.parquet").content() == table(tmp_path / "file.parquet").content()
    assert client.get("/api/v1/runs/nobody/export").status_code == 404


def test_a_notebook_and_the_commands_of_the_sdk(served, wire, tmp_path, capsys, monkeypatch, table):
    monkeypatch.setenv("FORESHOCK_URL", served.url)
    trainer = wire.Trainer(served.http)
    trainer.open()
    trainer.send(1, [wire.rows(1, [1, 2], [[1.0], [2.0]])], [wire.frame(1, ["loss"])])
    client = Client()
    assert client.export("brisk-otter", tmp_path) == tmp_path / "run-1.parquet"
    assert table(tmp_path / "run-1.parquet").table["value"].to_pylist() == [1.0, 2.0]
    assert [path.name for path in tmp_path.glob(".*.part")] == []
    assert commands.projects(["set", "p", "--retention-days", "30"]) == 0
    assert commands.projects(["list"]) == 0
    assert "30" in capsys.readouterr().out
    assert commands.projects(["set", "p", "--keep"]) == 0
    assert client.projects()[0]["retention_days"] is None
    assert commands.projects(["set", "p", "--retention-days", "-1"]) == 1
    assert "retention_days" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert commands.runs(["delete", "run-1"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert commands.runs(["delete", "run-1", "--yes"]) == 0
    assert "is deleted" in capsys.readouterr().out
    assert commands.runs([]) == 0
    assert commands.runs(["delete", "run-1", "--yes"]) == 1
    with pytest.raises(ForeshockError):
        client.export("run-1", tmp_path)


def test_a_killed_import_leaves_nothing_to_see_and_can_be_repeated(make, table, tmp_path, migrated_file):
    for seq in range(1, 41):
        make.block(
            "run-1",
            seq,
            1,
            [f"s{i}" for i in range(50)],
            range(seq * 100, seq * 100 + 100),
            [[0.5] * 50] * 100,
        )
    from foreshock_server.exchange.export import export_run

    path, target = tmp_path / "a.parquet", tmp_path / "target.db"
    export_run(make.database, "run-1", path)
    target.write_bytes(migrated_file.read_bytes())
    script = (
        "import os, signal, sys\n"
        "from foreshock_server.exchange import restore\n"
        "from foreshock_server import cli\n"
        "restore.AT_ONCE = 20_000\n"
        "store, calls = restore._store, []\n"
        "def counted(*arguments):\n"
        "    store(*arguments)\n"
        "    calls.append(1)\n"
        "    if len(calls) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "restore._store = counted\n"
        "sys.exit(cli.import_(sys.argv[1:]))\n"
    )
    environment = {**os.environ, "FORESHOCK_DATABASE_URL": f"sqlite:///{target}"}
    killed = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=environment, timeout=120, check=False
    )
    assert killed.returncode == -9
    words = [sys.executable, "-m", "foreshock_server", "import", str(path)]
    again = subprocess.run(words, env=environment, timeout=120, check=False, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    database = Database(f"sqlite:///{target}")
    export_run(database, "run-1", tmp_path / "b.parquet")
    database.close()
    assert table(tmp_path / "b.parquet").content() == table(path).content()


def test_a_part_of_an_export_is_the_whole_and_no_more_than_some_are_made_at_a_time(
    client, trainer, wire, monkeypatch
):
    trainer.send(1, [wire.rows(1, [1], [[1.0]])], [wire.frame(1, ["loss"])])
    path = "/api/v1/runs/run-1/export"
    for wanted in ("bytes=0-1", "bytes=-", "bytes=x", "bytes=" + "0-0," * 500):
        assert client.get(path, headers={"Range": wanted}).status_code == 200
    room = threading.BoundedSemaphore(1)
    monkeypatch.setattr(endpoint, "_room", room)
    for _ in range(3):  # each gives its room back, also when it fails
        assert client.get(path).status_code == 200
        assert client.get("/api/v1/runs/nobody/export").status_code == 404
    with room:
        refused = client.get(path)
    assert (refused.status_code, refused.json()["error"]) == (503, "Overloaded")
    unsent = endpoint.get_export(Request({"type": "http", "app": client.app}), "run-1")
    assert not room.acquire(blocking=False)
    del unsent
    assert room.acquire(blocking=False)
