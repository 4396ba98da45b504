"""The golden files that the SDK writes (tests/sdk/test_wire.py, test_sender.py), put before the server, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

HERE = Path(__file__).parent
BLOCKS = sorted(path.stem for path in HERE.glob("block-*.msgpack"))
RUN = "/api/v1/runs/golden"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def opened(client: TestClient) -> TestClient:
    """A server that was told of the run."""
    answer = client.put(RUN, content=(HERE / "open.json").read_bytes(), headers=JSON)
    assert answer.status_code == 200
    told = {"run": "golden", "attempt": 2, "url": answer.json()["url"], "understands": ["axis", "lists"]}
    assert answer.json() == told
    return client


def send(client: TestClient, kind: str) -> None:
    media = {"msgpack": "application/x-foreshock-block", "json": "application/json"}[kind]
    for seq, name in enumerate(BLOCKS, 1):
        body = (HERE / f"{name}.{kind}").read_bytes()
        answer = client.post(f"{RUN}/blocks?floor={seq}", content=body, headers={"Content-Type": media})
        assert answer.status_code == 200, answer.text
        assert answer.json()["ack"] == seq
        assert set(answer.json()) == set(json.loads((HERE / "answer.json").read_text()))


def found(client: TestClient) -> dict[str, dict[str, Any]]:
    keys = [series["key"] for series in client.get(f"{RUN}/series").json()["series"]]
    data = client.get(f"{RUN}/data", params={"key": keys, "points": 0}).json()["series"]
    return {one["key"]: {name: one[name] for name in ("steps", "times", "values")} for one in data}


@pytest.mark.parametrize("kind", ["msgpack", "json"])
def test_every_reading_is_found_again(opened: TestClient, kind: str) -> None:
    send(opened, kind)
    assert found(opened) == json.loads((HERE / "series.json").read_text())


@pytest.mark.parametrize("kind", ["msgpack", "json"])
def test_how_several_ranks_become_one_is_kept(opened: TestClient, kind: str) -> None:
    send(opened, kind)
    frames = json.loads((HERE / "block-5-layouts.json").read_text())["frames"]
    told = {one["key"]: one["about"]["layout"] for frame in frames for one in frame["series"]}
    kept = {one["key"]: one["about"].get("layout") for one in opened.get(f"{RUN}/series").json()["series"]}
    assert len(told) == 3
    assert {key: kept[key] for key in told} == told
    assert not any(layout for key, layout in kept.items() if key not in told)


def test_what_the_opening_says_is_kept(opened: TestClient) -> None:
    run, told = opened.get(RUN).json(), json.loads((HERE / "open.json").read_text())
    assert {name: run[name] for name in ("project", "name", "config")} == {
        name: told[name] for name in ("project", "name", "config")
    }
    assert run["attempts"][0]["info"] == told["info"]


def test_losses_and_cost_are_kept(opened: TestClient) -> None:
    send(opened, "msgpack")
    run = opened.get(RUN).json()
    assert (run["dropped"], run["lost"]) == (7, {"recorder behind": 3, "spool full": 4})
    assert run["overhead_percent"] == pytest.approx(0.2)


def test_the_ending_ends_it(opened: TestClient) -> None:
    send(opened, "msgpack")
    body = (HERE / "finish.json").read_bytes()
    ending = opened.post(f"{RUN}/attempts/2/finish", content=body, headers=JSON)
    assert ending.status_code == 200
    assert ending.json() == {"run": "golden", "state": "finished"}
    assert opened.get(RUN).json()["state"] == "finished"
