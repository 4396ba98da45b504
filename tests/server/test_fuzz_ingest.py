"""Mutated blocks and hostile words through the whole service: never a 5xx, never a hang, and what was stored can be worked on.

The seeds are fixed; FORESHOCK_TEST_FUZZ=20000 tries more of them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.server.mutations import GOLDEN, MSGPACK, NUMBERS, TEXTS, attack, bombs, nested

from foreshock_server.worker import Workers

SEEDS = int(os.environ.get("FORESHOCK_TEST_FUZZ", "300"))
FOUND = (521,)  # seeds that once found a fault, tried forever; 521: a dtype that is an object
REFUSALS = {404, 409, 413, 415, 422}
PATIENCE = 60  # seconds until an input counts as a hang


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Whatever takes a minute never ends."""

    def hangs(_signal: int, _frame: object) -> None:
        raise TimeoutError("this input hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def post(client: Any, run: str, body: bytes, headers: dict[str, str]) -> Any:
    signal.alarm(PATIENCE)
    answer = client.post(f"/api/v1/runs/{run}/blocks", content=body, headers=headers)
    signal.alarm(0)
    if answer.status_code != 200:
        assert answer.status_code in REFUSALS, answer.text
        told = answer.json()
        assert told["request_id"] == answer.headers["x-request-id"]
        assert told["detail"]
        assert len(answer.content) < 10_000  # nobody's words are thrown back at length
    return answer


def read_everything(client: Any, run: str) -> None:
    """Every question about the run has an answer."""
    base = f"/api/v1/runs/{run}"
    keys = [one["key"] for one in client.get(f"{base}/series").json()["series"]]
    questions = [(base, {}), (f"{base}/verdict", {}), (f"{base}/alerts", {}), (f"{base}/figures", {})]
    questions += [("/api/v1/runs", {}), ("/api/v1/statistics", {}), ("/api/v1/alerts", {}), ("/metrics", {})]
    questions += [("/api/v1/deliveries", {}), ("/api/v1/projects", {})]
    questions += [(f"{base}/data", {"key": key, "points": points}) for key in keys for points in (0, 7)]
    for path, parameters in questions:
        answer = client.get(path, params=parameters)
        assert answer.status_code == 200, (path, parameters, answer.text[:500])
    for figure in client.get(f"{base}/figures").json()["figures"]:
        answer = client.get(f"{base}/figures/{figure['name']}", params={"key": keys[:3]})
        assert answer.status_code in (200, 422), (figure["name"], answer.text[:500])


def work(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Every stage goes over what was stored, and none fails."""
    state = client.app.state
    workers = Workers(state.database, state.bus, state.settings, state.rules)
    try:
        for stage in workers.stages:
            for _ in range(50):
                if not stage._run_once():
                    break
    finally:
        workers.stop()
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_mutated_blocks_are_stored_or_refused_and_what_is_stored_can_be_worked_on(client, wire, caplog):
    stored = 0
    for number, seed in enumerate([*FOUND, *range(SEEDS)]):
        run = f"fuzz-{number % 20}"  # each meets what others before it stored
        if number < 20:
            wire.Trainer(client, run=run).open()
            for path in GOLDEN:
                if path.suffix == ".msgpack":
                    post(client, run, path.read_bytes(), {"Content-Type": MSGPACK})
        one = attack(seed)
        stored += post(client, run, one.body, one.headers).status_code == 200
    assert stored > SEEDS / 20  # else it only tries the first check
    for number in range(20):
        read_everything(client, f"fuzz-{number}")
    work(client, caplog)
    for number in range(20):
        read_everything(client, f"fuzz-{number}")


def test_golden_blocks_are_good(client, wire):
    """What the mutations begin with: without this they would only ever try the first check."""
    for path in GOLDEN:
        run = path.name.replace(".", "-")
        wire.Trainer(client, run=run).open()
        media_type = MSGPACK if path.suffix == ".msgpack" else "application/json"
        assert post(client, run, path.read_bytes(), {"Content-Type": media_type}).status_code in (200, 409)


def test_bombs_are_refused(client, trainer):
    for name, one in bombs(64 * 2**20).items():
        answer = post(client, trainer.run, one.body, one.headers)
        assert answer.status_code in (413, 422), (name, answer.text)


def test_hostile_words_in_openings_endings_and_channels(client, wire, caplog):
    opening = {
        "project": "p",
        "name": "n",
        "config": {},
        "started_at": 1.0,
        "attempt": 1,
        "writer": "w",
        "info": {},
    }
    closing = {"state": "finished", "at": 1.0, "last_seq": {"w": 1}}
    channel = {"name": "c", "kind": "webhook", "url": "https://example.org/x", "project": "p"}
    asked = 0
    for word in [*TEXTS, *NUMBERS, None, True, [], {}, [1], {"a": {"b": [None]}}, nested(60), nested(450)]:
        for method, path, body in (
            ("PUT", f"/api/v1/runs/words-{asked}", opening),
            ("POST", "/api/v1/runs/known/attempts/1/finish", closing),
            ("POST", "/api/v1/channels", channel),
            ("PATCH", "/api/v1/channels/none", channel),
            ("POST", "/api/v1/session", {"key": "k"}),
        ):
            for field in body:
                variants = [{**body, field: word}]
                if isinstance(body[field], dict):
                    variants += [{**body, field: {"k": word}}]
                    variants += [{**body, field: {word: 1}}] if isinstance(word, str) else []
                for variant in variants:
                    asked += 1
                    signal.alarm(PATIENCE)
                    answer = client.request(
                        method,
                        path,
                        content=json.dumps(variant),
                        headers={"Content-Type": "application/json"},
                    )
                    assert answer.status_code < 500, (method, path, field, word, answer.text)
                    if answer.status_code >= 400:
                        assert answer.json()["request_id"]
                        assert len(answer.content) < 10_000
    for path in ("runs", "projects", "channels", "deliveries"):
        assert client.get(f"/api/v1/{path}").status_code == 200
    for run in client.get("/api/v1/runs?limit=500").json()["runs"]:
        assert client.get(f"/api/v1/runs/{run['id']}").status_code == 200
    assert client.get("/metrics").status_code == 200
    work(client, caplog)
