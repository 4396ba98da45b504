"""Names and addresses that try to be something else: never a fault of ours, never a line of the log, never a path."""

from __future__ import annotations

import logging
from urllib.parse import quote

import pytest

from foreshock_server.app import edge

NAMES = [
    "../../etc/passwd",
    "..",
    "/",
    "a/b",
    "a\\b",
    "nul\x00byte",
    "line\nbreak",
    "return\r\nSet-Cookie: a=b",
    "\x1b[31mred",
    "\u202eevil",
    "\u2066isolated",
    "\u2028line",
    "\x85next",
    "x" * 5000,
    "<script>alert(1)</script>",
    "%00",
    "%2e%2e%2f",
    "{run}",
    "'; DROP TABLE runs; --",
    "💥",
    "\ufeffbom",
    " ",
]
RUNS = [*NAMES, "\udcff".encode("utf-8", "surrogateescape")]


def address(name: str | bytes) -> str:
    return quote(name, safe="").replace(".", "%2E")  # or the client itself would walk up to another path


@pytest.mark.parametrize("name", RUNS, ids=ascii)
def test_no_path_is_a_fault_of_ours(client, name):
    for method, path in (
        ("GET", "/runs/{}"),
        ("GET", "/runs/{}/series"),
        ("GET", "/runs/{}/data?key=a"),
        ("GET", "/runs/{}/live"),
        ("GET", "/runs/{}/figures/{}"),
        ("PUT", "/runs/{}"),
        ("POST", "/runs/{}/blocks"),
        ("POST", "/runs/{}/attempts/1/finish"),
        ("DELETE", "/runs/{}"),
        ("GET", "/channels/{}"),
        ("DELETE", "/channels/{}"),
        ("DELETE", "/keys/{}"),
        ("GET", "/reference/{}"),
        ("GET", "/runs?project={}"),
        ("GET", "/alerts?project={}"),
        ("GET", "/deliveries?run={}"),
        ("GET", "/runs?before={}"),
    ):
        answer = client.request(
            method,
            "/api/v1" + path.format(address(name), address(name)),
            json={} if method == "PUT" else None,
        )
        assert answer.status_code in (200, 404, 405, 422), f"{method} {path}: {answer.text}"
        if answer.status_code != 200:
            assert answer.json()["detail"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_name_in_a_body_is_a_fault_of_ours(client, trainer, wire, name):
    opening = {
        "project": "p",
        "name": "n",
        "started_at": 1.0,
        "attempt": 1,
        "writer": "w",
        "info": {},
        "config": {},
    }
    plain = name.isprintable() and "\ufeff" not in name
    for field, longest in (("project", 200), ("name", 200), ("writer", 64)):
        answer = client.put(f"/api/v1/runs/named-{field}", json={**opening, field: name})
        assert answer.status_code == (200 if plain and len(name) <= longest else 422), (field, answer.text)
    kept = client.put(
        "/api/v1/runs/told",
        json={**opening, "config": {name: name, "n": [{name: name}]}, "info": {name: name}},
    )
    assert kept.status_code in (200, 422), kept.text
    channel = client.post(
        "/api/v1/channels",
        json={"name": name, "kind": "webhook", "url": "http://x.example/", "project": name},
    )
    assert channel.status_code == (201 if plain and len(name) <= 100 else 422), channel.text
    key = (
        client.post("/api/v1/keys", json={"name": name, "scopes": ["read"]})
        if len(name) > 100 or not plain
        else None
    )
    assert key is None or key.status_code == 422
    series_key = f"loss{{place={name}}}"
    labelled = {**wire.series("loss"), "key": series_key, "place": name, "labels": {"place": name}}
    block = trainer.block(1, [wire.rows(1, [1], [[1.0]])], [{"frame": 1, "series": [labelled]}])
    stored = trainer.post(block)
    assert stored.status_code == (200 if plain and len(name) <= 900 else 422), stored.text
    if stored.status_code == 200:
        assert series_key in {one["key"] for one in trainer.get("/series")["series"]}
        assert trainer.get("/data", key=series_key)["series"][0]["steps"] == [1]
        assert client.get("/api/v1/runs/run-1/figures").status_code == 200
    for path in ("/runs", "/projects", "/channels", "/statistics"):
        assert client.get(f"/api/v1{path}").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\ud800", "scopes": ["read"]}',
        b'{"\\ud800": 1, "name": "a", "scopes": ["read"]}',
        b'{"name": "a", "scopes": ["\\u0000"]}',
        b'{"name": "\xff", "scopes": ["read"]}',
        b'{"name": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"name": ' + b"9" * 10_000 + b"}",
    ],
    ids=range(6),
)
@pytest.mark.parametrize("path", ["/keys", "/channels", "/session"])
def test_no_body_is_a_fault_of_ours(client, body, path):
    answer = client.post(f"/api/v1{path}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 413, 422), answer.text
    assert answer.json()["detail"]


def test_no_name_makes_a_line_of_its_own_in_the_log(client, caplog):
    from foreshock_server.telemetry.logs import TextLines

    caplog.set_level(logging.DEBUG)
    forged = "x\nERROR 2026 forged line"
    client.get(f"/api/v1/runs/{quote(forged, safe='')}")
    client.get("/api/v1/runs", headers={"Authorization": b"Bearer fsk_\x85x"})
    client.app.state.bus.publish(forged)
    for record in caplog.records:
        record.request_id = "r"
        assert "\n" not in TextLines().format(record).split("\nTraceback")[0], record


def test_a_long_address_and_many_headers_are_told_before_anything_is_looked_up(client):
    long = client.get("/api/v1/runs", params={"project": "x" * (edge.LONGEST_ADDRESS + 1)})
    assert (long.status_code, long.json()["error"]) == (431, "HeadTooLarge")
    many = client.get("/api/v1/runs", headers={f"X-{n}": "1" for n in range(edge.MOST_HEADERS + 1)})
    assert (many.status_code, "headers" in many.json()["detail"]) == (431, True)
    large = client.get("/api/v1/runs", headers={"X-Large": "1" * (edge.LONGEST_HEADERS + 1)})
    assert (large.status_code, large.headers["x-content-type-options"]) == (431, "nosniff")


def test_a_body_without_a_key_is_small(client):
    key = "x" * 10_000
    assert client.post("/api/v1/session", json={"key": key}).status_code == 413

    def chunks():
        for _ in range(100):
            yield key.encode()

    assert client.post("/api/v1/session", content=chunks()).status_code == 413
