"""Every request has an id, in the answer, in the body of an error and in the log; one record is one line; secrets stay out."""

from __future__ import annotations

import json
import logging
import re

import pytest
from fastapi.testclient import TestClient

from foreshock_server.app import create_app
from foreshock_server.sealing.tallier import Tallier
from foreshock_server.settings import Settings
from foreshock_server.telemetry import about, note
from foreshock_server.telemetry.logs import JsonLines, TextLines, _Carrying

LOGGER = "foreshock_server.access"


@pytest.fixture
def database_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'foreshock.db'}"


def lines(records: list[logging.LogRecord], formatter: logging.Formatter) -> list[str]:
    return [formatter.format(record) for record in records]


def record(message: str, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("foreshock_server.x", logging.INFO, __file__, 1, message, (), None)
    made.__dict__.update(more)
    _Carrying().filter(made)
    return made


def test_a_sane_id_is_kept_and_another_is_made(client):
    assert (
        client.get("/healthz", headers={"X-Request-ID": "job-17.a:b"}).headers["x-request-id"] == "job-17.a:b"
    )
    for mad in ("", "a b", "x" * 65, "a\tb", "é".encode(), "<script>", "../..", '"'):
        made = client.get("/healthz", headers={"X-Request-ID": mad}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", made)


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/api/v1/nothing", {}, 404),
        ("GET", "/api/v1/runs/unknown", {}, 404),
        ("GET", "/no/file.js", {}, 404),
        ("DELETE", "/api/v1/runs", {}, 405),
        ("POST", "/healthz", {}, 405),
        ("GET", "/api/v1/runs?limit=many", {}, 422),
        ("PUT", "/api/v1/runs/x", {"content": b"{"}, 422),
        ("POST", "/api/v1/runs/x/blocks", {"content": b"", "headers": {"Content-Type": "text/plain"}}, 422),
        ("POST", "/api/v1/runs/x/blocks", {"content": bytes(17 * 2**20)}, 413),
        ("GET", "/api/v1/runs", {"headers": {"Host": "evil.example"}}, 403),
        ("DELETE", "/api/v1/session", {"headers": {"Origin": "http://evil.example"}}, 403),
    ],
)
def test_every_error_has_one_shape_with_the_id(client, method, path, more, status):
    answer = client.request(method, path, **more)
    body = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert set(body) <= {"error", "detail", "request_id", "field"}
    assert re.fullmatch(r"[A-Z][A-Za-z]+", body["error"])
    assert body["request_id"] == answer.headers["x-request-id"]
    assert len(body["detail"]) > 20
    assert body["detail"].endswith((".", "?"))
    if status == 405:
        assert answer.headers["allow"]


def test_a_key_that_is_wrong_is_told_with_the_id(migrated_url, settings):
    locked = settings.model_copy(update={"api_key": Settings(api_key="k" * 20).api_key})
    with TestClient(create_app(locked)) as client:
        answer = client.get("/api/v1/runs", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_line_names_the_key_and_never_its_secret(migrated_url, settings, caplog):
    caplog.handler.addFilter(_Carrying())
    secret = "a-long-secret-of-somebody"
    locked = settings.model_copy(update={"api_key": Settings(api_key=secret).api_key, "access_log": "all"})
    with TestClient(create_app(locked)) as client, caplog.at_level("DEBUG", LOGGER):
        assert client.get("/api/v1/runs", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    (line,) = [json.loads(one) for one in lines(caplog.records, JsonLines()) if "/runs" in one]
    assert line["key"]
    assert secret not in json.dumps(line)


def test_our_fault_is_answered_once_with_its_id_and_logged_with_its_trace(
    migrated_url, settings, monkeypatch, caplog
):
    def fault(_session: object) -> None:
        raise ValueError("inside\nWARNING forged: line")

    monkeypatch.setattr("foreshock_server.query.endpoint.projects", fault)
    with (
        TestClient(create_app(settings), raise_server_exceptions=False) as client,
        caplog.at_level("DEBUG", "foreshock_server"),
    ):
        answer = client.get("/api/v1/projects")
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "default-src" in answer.headers["content-security-policy"]
    faults = [
        one for one in caplog.records if one.levelno == logging.ERROR and one.name.startswith("foreshock")
    ]
    assert len(faults) == 1


def test_errors_and_slow_requests_are_at_info_the_rest_at_debug(migrated_url, settings, caplog):
    patient = settings.model_copy(update={"slow_request": 3600.0})
    with TestClient(create_app(patient)) as client, caplog.at_level("DEBUG", LOGGER):
        client.get("/healthz")
        client.get("/api/v1/runs/unknown")
    fine, bad = caplog.records
    assert (fine.levelno, bad.levelno) == (logging.DEBUG, logging.INFO)
    assert bad.fields["route"] == "/api/v1/runs/{run}"
    assert (bad.fields["status"], bad.fields["run"]) == (404, "unknown")
    caplog.clear()
    slow = settings.model_copy(update={"slow_request": 1e-9})
    with TestClient(create_app(slow)) as client, caplog.at_level("DEBUG", LOGGER):
        client.get("/healthz")
    assert caplog.records[0].levelno == logging.INFO


@pytest.mark.parametrize(("which", "count"), [("all", 2), ("off", 0), ("problems", 1)])
def test_which_lines_there_are_is_a_setting(migrated_url, settings, caplog, which, count):
    with (
        TestClient(
            create_app(settings.model_copy(update={"access_log": which, "slow_request": 3600.0}))
        ) as client,
        caplog.at_level("INFO", LOGGER),
    ):
        client.get("/healthz")
        client.get("/api/v1/runs/unknown")
    assert len([one for one in caplog.records if one.name == LOGGER]) == count


def test_a_line_of_json_holds_all_that_is_known(migrated_url, settings, caplog):
    caplog.handler.addFilter(_Carrying())
    with TestClient(create_app(settings)) as client, caplog.at_level("DEBUG", "foreshock_server"):
        client.get("/api/v1/runs/unknown", headers={"X-Request-ID": "abc-1"})
    (line,) = [json.loads(one) for one in lines(caplog.records, JsonLines()) if "unknown" in one]
    assert line["request_id"] == "abc-1"
    assert line["logger"] == LOGGER
    assert line["route"] == "/api/v1/runs/{run}"
    assert line["bytes_out"] > 0
    assert line["seconds"] > 0
    assert line["at"].endswith("Z")


HOSTILE = "run \n2026-01-01 ERROR forged: x\r\x1b[31m\u2028\x00\ud800"


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
def test_no_words_make_a_second_line(formatter):
    with about(run=HOSTILE):
        line = formatter.format(record(HOSTILE))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    line.encode("ascii" if isinstance(formatter, JsonLines) else "utf-8")


def test_a_trace_in_text_stands_behind_bars():
    try:
        raise ValueError("a\n2026-01-01 ERROR forged: x")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    first, *rest = TextLines().format(record("our fault", exc_info=info)).splitlines()
    assert first.endswith("our fault")
    assert rest
    assert all(line.startswith("    | ") for line in rest)
    (line,) = JsonLines().format(record("our fault", exc_info=info)).splitlines()
    assert "ValueError" in json.loads(line)["trace"]


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
@pytest.mark.parametrize(
    "secret",
    [
        "postgresql+psycopg://user:hunter2@host/db does not answer",
        "Authorization: Bearer hunter2",
        "host=a password=hunter2 user=b",
        "whsec_hunter2",
    ],
)
def test_secrets_stay_out(formatter, secret):
    assert "hunter2" not in formatter.format(record(secret))


def test_lines_of_a_stage_carry_its_run_and_only_there():
    with about(run="run-7"):
        inside = json.loads(JsonLines().format(record("x")))
        with about(series="loss"):
            deeper = json.loads(JsonLines().format(record("x")))
    outside = json.loads(JsonLines().format(record("x")))
    assert (inside["run"], deeper["run"], deeper["series"], outside.get("run")) == (
        "run-7",
        "run-7",
        "loss",
        None,
    )
    note(points=3)  # outside a request: nothing happens


def test_a_stage_names_the_run_whose_work_failed(database, settings, caplog, monkeypatch):
    caplog.handler.addFilter(_Carrying())
    tallier = Tallier(database)

    def fails(_run: str) -> int:
        raise ValueError("no")

    monkeypatch.setattr(tallier, "tally", fails)
    tallier._guarded("run-7", 0.0)
    (line,) = [json.loads(one) for one in lines(caplog.records, JsonLines())]
    assert line["run"] == "run-7"


def test_serve_logs_json_lines(tmp_path, wire):
    served = wire.Served(tmp_path, FORESHOCK_LOG_FORMAT="json", FORESHOCK_ACCESS_LOG="all").start(
        "--port", "0"
    )
    served.http.get("/api/v1/runs/unknown", headers={"X-Request-ID": "abc-1"})
    assert served.stop() == 0
    written = [json.loads(line) for line in served.output[1].splitlines()]
    assert [one["status"] for one in written if one.get("request_id") == "abc-1"] == [404]
