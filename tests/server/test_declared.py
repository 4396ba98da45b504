"""What schemathesis found, once each: requests that the document does not declare were taken."""

from __future__ import annotations

import pytest

OPENING = {"project": "p", "started_at": 1.0, "attempt": 1, "writer": "w"}
CLOSING = {"state": "finished", "at": 1.0, "last_seq": {"w": 1}}
CHANNEL = {"name": "c", "kind": "webhook", "url": "https://example.org/x"}
SILENCE = {"matches": {"rule": "*"}, "seconds": 60}
TRIAL = {"runs": ["run-1"], "outcomes": {"run-1": 7.0}}
WANTED = {"rule": "one-class-share", "healthy": ["run-1"], "rate": 0.5}


@pytest.fixture
def database_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'foreshock.db'}"


@pytest.mark.parametrize("before", ["", " ", "1~", "~run", "1~run~run\n"])
def test_a_cursor_that_is_there_is_one(client, before):
    answer = client.get("/api/v1/runs", params={"before": before})
    assert (answer.status_code, answer.json()["field"]) == (422, "before")


@pytest.mark.parametrize(
    ("method", "path", "good", "field", "wrong"),
    [
        ("PUT", "/projects/p", {"retention_days": 1}, "retention_days", [True, "1", [], "NaN", 0]),
        ("PUT", "/runs/r", OPENING, "attempt", [True, "1", 1.5, 0]),
        ("PUT", "/runs/r", OPENING, "started_at", [True, "1", None, -1]),
        ("PUT", "/runs/r", OPENING, "name", [1, None, True]),
        ("POST", "/runs/run-1/attempts/1/finish", CLOSING, "at", [True, "1.0", -1]),
        (
            "POST",
            "/runs/run-1/attempts/1/finish",
            CLOSING,
            "last_seq",
            [{"w": "1"}, {"w": True}, {"w": -1}, {"": 1}],
        ),
        ("POST", "/channels", CHANNEL, "enabled", ["yes", 1, "true", None]),
        ("POST", "/channels", CHANNEL, "name", [1, True, ""]),
        ("POST", "/channels", CHANNEL, "repeat_seconds", [True, "60", "NaN"]),
        ("POST", "/silences", SILENCE, "seconds", [True, "60", "NaN", None]),
        (
            "POST",
            "/silences",
            SILENCE,
            "matches",
            [{"rule": 1}, {"severity": True}, {"labels": {"a": 1}}, []],
        ),
        ("POST", "/rules/backtest", TRIAL, "outcomes", [{"run-1": "1"}, {"run-1": True}, {"run-1": 1.5}]),
        ("POST", "/rules/suggest", WANTED, "rate", [True, "0.5", "NaN", 1]),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_turned_into_one(
    client, trainer, method, path, good, field, wrong
):
    for value in wrong:
        answer = client.request(method, f"/api/v1{path}", json={**good, field: value})
        assert answer.status_code == 422, (value, answer.text)
        assert answer.json()["field"].startswith(field)
    assert client.request(method, f"/api/v1{path}", json=good).status_code < 300


def test_a_whole_number_is_one_however_it_is_written(client):
    assert client.put("/api/v1/runs/r", json={**OPENING, "started_at": 1}).status_code == 200
    assert client.put("/api/v1/runs/r", json={**OPENING, "attempt": 2.0}).json()["attempt"] == 2
    closed = client.post("/api/v1/runs/r/attempts/2/finish", json={**CLOSING, "last_seq": {"w": 1.0}})
    assert closed.status_code == 200
    assert client.put("/api/v1/projects/p", json={"retention_days": None}).status_code == 200


def test_bounds_of_numbers_are_in_the_document_by_their_names_there(client):
    document = client.app.openapi()["components"]["schemas"]
    last_seq = document["Closing"]["properties"]["last_seq"]["additionalProperties"]
    assert last_seq == {"type": "integer", "minimum": 0, "maximum": 2**53}
    (steps,) = document["Trial"]["properties"]["outcomes"]["patternProperties"].values()
    assert set(steps) == {"type", "minimum", "maximum"}
    attempt = document["Opening"]["properties"]["attempt"]
    assert (attempt["minimum"], attempt["maximum"]) == (1, 2**31)
