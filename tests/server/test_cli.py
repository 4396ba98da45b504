"""The command says what it needs in sentences, stops when told to, and loses nothing it acknowledged when it is killed."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import threading
import time
from importlib.resources import files
from pathlib import Path

import pytest

from foreshock_server import cli
from foreshock_server.cli import serving
from foreshock_server.settings import Settings


def run(wire, *words: str, timeout: float = 60, **environment: str) -> tuple[int, str, str]:
    process = wire.command(*words, **environment)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def test_serve_prints_its_address_once_it_answers_and_ends_on_sigterm(served):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", served.url)
    assert served.http.get("/readyz").json()["status"] == "ok"
    assert served.stop() == 0
    out, err = served.output
    assert out.startswith(f"Foreshock is at {served.url} ")
    assert "Traceback" not in err


def test_serve_ends_on_ctrl_c_too(served):
    assert served.stop(signal.SIGINT) == 0
    assert "Traceback" not in served.output[1]


def test_links_name_the_port_that_was_taken(served, wire):
    trainer = wire.Trainer(served.http)
    assert trainer.open().json()["url"] == f"{served.url}/runs/run-1"


def test_serve_beyond_loopback_without_a_key_is_refused_with_the_way_to_make_one(wire, tmp_path):
    status, out, err = run(wire, "serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path))
    assert (status, out) == (1, "")
    assert "foreshock keys create" in err
    assert "FORESHOCK_API_KEY=… foreshock serve --host 0.0.0.0" in err


def test_serve_beyond_loopback_with_a_key_answers_those_who_have_it(wire, tmp_path):
    served = wire.Served(tmp_path, FORESHOCK_API_KEY="k" * 32).start("--host", "0.0.0.0", "--port", "0")
    port = served.url.rpartition(":")[2]
    assert served.url == f"http://{socket.gethostname()}:{port}"
    address = f"http://127.0.0.1:{port}/api/v1/runs"
    assert served.http.get(address).status_code == 401
    assert served.http.get(address, headers={"Authorization": "Bearer " + "k" * 32}).status_code == 200
    served.stop()


def test_a_taken_port_is_said_with_what_to_do(served, wire, tmp_path):
    port = served.url.rpartition(":")[2]
    status, _, err = run(wire, "serve", "--port", port, "--data-dir", str(tmp_path / "other"))
    assert status == 1
    assert "--port 0" in err


@pytest.mark.parametrize(
    ("variable", "value"),
    [("FORESHOCK_PORT", "http"), ("FORESHOCK_SILENT_AFTER", "-1"), ("FORESHOCK_WORKERS", "7")],
)
def test_a_wrong_setting_is_named(wire, tmp_path, variable, value):
    status, _, err = run(wire, "serve", "--data-dir", str(tmp_path), **{variable: value})
    assert status == 1
    assert err.startswith(f"{variable}: ")
    assert repr(value) in err


def test_a_secret_in_a_wrong_setting_is_not_shown(wire, tmp_path):
    status, _, err = run(
        wire,
        "migrate",
        "--data-dir",
        str(tmp_path),
        FORESHOCK_DATABASE_URL="postgresql+psycopg://u:hunter2@127.0.0.1:1/x",
    )
    assert status == 1
    assert "cannot be used" in err
    assert "hunter2" not in err
    assert "Traceback" not in err


def test_a_database_url_that_is_none_is_said(wire, tmp_path):
    status, _, err = run(
        wire, "serve", "--port", "0", "--data-dir", str(tmp_path), FORESHOCK_DATABASE_URL="nonsense"
    )
    assert status == 1
    assert "cannot be used" in err
    assert "Traceback" not in err


def test_a_data_folder_that_is_a_file_is_said(wire, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = run(wire, "serve", "--port", "0", "--data-dir", str(tmp_path / "file"))
    assert (status, err.count("\n")) == (1, 1)
    assert str(tmp_path / "file") in err


def test_migrate_says_what_it_did(tmp_path, capsys):
    def migrate(*words: str) -> tuple[int, str]:
        return cli.migrate([*words, "--data-dir", str(tmp_path)]), capsys.readouterr().out

    versions = (Path(str(files("foreshock_migrations"))) / "versions").glob("[0-9]*.py")
    numbers = ", ".join(sorted(path.name[:4] for path in versions))
    assert migrate("--check") == (1, f"To apply: {numbers}.\n")
    assert migrate() == (0, f"Applied: {numbers}.\n")
    assert migrate() == (0, "The database was up to date.\n")
    assert migrate("--check") == (0, "The database is up to date.\n")


@pytest.mark.postgres
def test_on_postgresql_serve_waits_for_migrate(wire, tmp_path, postgres_url):
    environment = {"FORESHOCK_DATABASE_URL": postgres_url}
    for word in (["serve", "--port", "0"], ["worker"]):
        status, _, err = run(wire, *word, **environment)
        assert status == 1
        assert "`foreshock migrate`" in err
    assert run(wire, "migrate", **environment)[0] == 0
    served = wire.Served(tmp_path, **environment).start("--port", "0")
    trainer = wire.Trainer(served.http)
    assert trainer.open().status_code == 200
    assert trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])]) == 1
    assert served.stop() == 0


def test_a_database_of_a_later_release_is_refused(wire, tmp_path, capsys):
    folder = ["--data-dir", str(tmp_path)]
    cli.migrate(folder)
    database = sqlite3.connect(tmp_path / "foreshock.db")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    database.close()
    assert cli.migrate(folder) == 1
    assert "later release" in capsys.readouterr().err
    status, _, err = run(wire, "serve", "--port", "0", *folder)
    assert status == 1
    assert "later release" in err
    assert "Traceback" not in err


def test_rules_check_finds_the_built_in_packs_good_and_says_what_is_wrong_in_another(capsys, tmp_path):
    assert cli.rules(["check"]) == 0
    assert "OK" in capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text("pack: mine\nrules:\n- id: x\n  nonsense: 1\n")
    assert cli.rules(["check", str(tmp_path)]) == 1
    assert "mine.yaml" in capsys.readouterr().out


def test_a_bad_rule_pack_keeps_the_server_from_starting_and_says_why(wire, tmp_path):
    (tmp_path / "mine.yaml").write_text("pack: [")
    status, _, err = run(
        wire, "serve", "--port", "0", "--data-dir", str(tmp_path), FORESHOCK_RULES_DIR=str(tmp_path)
    )
    assert status == 1
    assert "mine.yaml" in err


def test_an_unknown_word_lists_the_known_ones(capsys):
    assert cli.main(["dance"]) == 2
    assert "serve,worker,migrate,rules" in capsys.readouterr().err


def test_worker_evaluates_what_serve_stored_and_ends_on_sigterm(wire, tmp_path):
    served = wire.Served(tmp_path, FORESHOCK_WORKERS="false").start("--port", "0")
    trainer = wire.Trainer(served.http)
    trainer.open()
    trainer.send(1, [wire.rows(1, [1], [[float("nan")]])], [{"frame": 1, "series": [wire.series("loss")]}])
    time.sleep(1.5)
    assert 'foreshock_alerts{state="firing"} 0.0' in served.http.get("/metrics").text
    worker = wire.command("worker", "--data-dir", str(tmp_path / "data"))
    assert "Ctrl-C" in worker.stdout.readline()
    assert _until(lambda: trainer.get()["firing"] == 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert "Traceback" not in worker.communicate()[1]
    served.stop()


def test_an_alert_is_there_well_within_a_second_of_its_block(served, wire):
    trainer = wire.Trainer(served.http)
    trainer.open()
    trainer.send(1, [wire.rows(1, [1], [[1.0]])], [{"frame": 1, "series": [wire.series("loss")]}])
    idle = 'foreshock_stage_rounds_total{stage="evaluate"} 0.0'
    assert _until(lambda: idle not in served.http.get("/metrics").text, 60.0)  # the worker has begun
    began = time.monotonic()
    trainer.send(2, [wire.rows(1, [2], [[float("nan")]])])
    assert _until(lambda: trainer.get()["firing"] == 1, 5.0)
    assert time.monotonic() - began < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(3))
def test_a_killed_server_has_lost_no_block_that_it_acknowledged(wire, tmp_path, round_):
    served = wire.Served(tmp_path).start("--port", "0")
    wire.Trainer(served.http).open()
    acknowledged: dict[str, int] = {}
    frames = [wire.frame(1, ["a", "b"])]

    def send(name: str) -> None:
        trainer = wire.Trainer(served.http, writer=name)
        for seq in range(1, 100_000):
            try:
                answer = trainer.post(trainer.block(seq, [wire.rows(1, [seq], [[seq, -seq]])], frames))
            except Exception:
                return
            if answer.status_code == 200:
                acknowledged[name] = answer.json()["ack"]

    threads = [threading.Thread(target=send, args=(f"w{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    assert _until(lambda: len(acknowledged) == 3 and min(acknowledged.values()) > 5 + 3 * round_, 30)
    assert served.stop(signal.SIGKILL) == -signal.SIGKILL
    for thread in threads:
        thread.join()
    served.start("--port", "0")
    trainer = wire.Trainer(served.http)
    (attempt,) = trainer.get()["attempts"]
    stored = {writer["writer"]: writer["acked"] for writer in attempt["writers"]}
    data = trainer.get("/data", key="a", points=0)["series"][0]["values"]
    for name, ack in acknowledged.items():
        assert stored[name] in (ack, ack + 1)  # the last one may have been stored and its answer lost
        # sent again, as the SDK does when no answer came: stored once
        again = wire.Trainer(served.http, writer=name)
        assert again.send(stored[name], [wire.rows(1, [stored[name]], [[0, 0]])], frames) == stored[name]
    assert sorted(data) == sorted(value for name in acknowledged for value in range(1, stored[name] + 1))
    assert trainer.get()["points"] == 2 * len(data)
    served.stop()


def _until(true, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return False


def test_answers_leave_at_once_on_a_kept_connection() -> None:
    """Without TCP_NODELAY each waits some 40 ms for the client's delayed acknowledgement."""
    with serving._listen(Settings(port=0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
