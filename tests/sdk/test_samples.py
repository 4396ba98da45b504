"""The lines that the OpenAPI document shows, executed: each asks the very operation that it stands at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.sdk.served import Server, Trainer, judge

from foreshock.query.connection import Connection
from foreshock_server.app.samples import BEGIN, SAMPLES

STEPS = 400
ONLY_OTHERS_ASK = {  # the SDK, the page, or whoever runs the server; and what a notebook asks in another way
    "open_run", "post_block", "finish_attempt", "session_state", "open_session", "close_session", "list_keys", "create_key",
    "revoke_key", "list_channels", "create_channel", "get_channel", "change_channel", "delete_channel", "test_channel",
    "get_delivery", "retry_delivery", "retry_deliveries", "list_live", "unacknowledge_incident",
    "change_runs", "compare_runs", "list_own_rules", "create_own_rule", "get_own_rule", "change_own_rule", "delete_own_rule",
    "restore_own_rule", "export_rules", "check_rule", "edit_rule", "test_rule", "list_candidates",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("samples"))
    falls = np.exp(-np.maximum(np.arange(STEPS) - 100, 0) / 60)
    Trainer(server, "run-1", project="grpo-math", name="brisk-otter").send(
        0, np.stack([falls, 1 - falls / 2], 1)
    )
    heron = Trainer(server, "run-2", project="grpo-math", name="calm-heron")
    heron.send(0, np.ones((STEPS, 2)))
    rank = {"key": "effective_rank{place=l.0}", "statistic": "effective_rank", "family": "representation", "place": "l.0", "labels": {"place": "l.0"}, "unit": "", "dtype": "f64"}  # fmt: skip
    block = {"v": 1, "attempt": 1, "writer": "w1", "seq": 2, "dropped": 0, "frames": [{"frame": 2, "series": [rank]}], "rows": [{"frame": 2, "steps": [0, 1], "times": [1.0, 2.0], "values": [3.0, 4.0]}]}  # fmt: skip
    server.send("POST", "/runs/run-1/blocks", block)
    judge(server, "run-1", "run-2")
    yield server
    server.close()


def document(server: Server) -> dict[str, Any]:
    return server.app.openapi()


def operations(server: Server) -> dict[str, tuple[str, str]]:
    """Method and path, by operation."""
    return {
        one["operationId"]: (method.upper(), path)
        for path, methods in document(server)["paths"].items()
        for method, one in methods.items()
    }


def test_every_operation_that_a_notebook_may_ask_has_its_lines(server):
    assert set(SAMPLES) | ONLY_OTHERS_ASK == set(operations(server))
    assert set(SAMPLES) & ONLY_OTHERS_ASK == set()
    for path in document(server)["paths"].values():
        for one in path.values():
            shown = [sample["source"] for sample in one.get("x-codeSamples", [])]
            assert shown == (
                [f"{BEGIN}\n{SAMPLES[one['operationId']]}\n"] if one["operationId"] in SAMPLES else []
            )


# What deletes comes last.
@pytest.mark.parametrize("operation", sorted(SAMPLES, key=lambda name: (name.startswith("delete"), name)))
def test_the_lines_run_and_ask_it(server, operation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, str]] = []
    open_ = Connection._open

    def opened(self: Connection, method: str, path: str, *rest: Any, **more: Any) -> Any:
        asked.append((method, f"/api/v1{path}"))
        return open_(self, method, path, *rest, **more)

    monkeypatch.setattr(Connection, "_open", opened)
    lines = f"{BEGIN}\n{SAMPLES[operation]}\n".replace("http://127.0.0.1:8642", server.url)
    names: dict[str, Any] = {}
    exec(compile(lines, operation, "exec"), names)
    method, path = operations(server)[operation]
    pattern = re.sub(r"\{[^}]+\}", "[^/]+", path)
    assert any(verb == method and re.fullmatch(pattern, where) for verb, where in asked), asked
