"""A rule as somebody writes it on the page, and a server that takes it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

RULE = """# seen in three runs
id: reward-falls
title: Reward below its line
family: training
severity: warning
matches: [{statistic: reward}]
detector: {kind: threshold, below: 0.5}
runbook:
  meaning: It means something.
  check: [this]
  try:
    - {text: that, basis: inference, source: experience}
source: experience
"""
TESTS = """tests:
  - name: it falls
    series: {reward: "1x10 0.2x5"}
    fires: 10
"""


class Desk:
    """Whoever writes rules."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.text, self.tests = RULE, TESTS

    def ask(self, method: str, path: str, status: int = 200, /, **body: Any) -> Any:
        answer = self.client.request(method, f"/api/v1{path}", json=body or None)
        assert answer.status_code == status, answer.text
        return answer.json()

    def create(self, text: str = RULE, status: int = 201, **more: Any) -> Any:
        return self.ask("POST", "/rules/own", status, text=text, **{"tests": TESTS, **more})

    def change(self, version: int, text: str = RULE, status: int = 200, **more: Any) -> Any:
        return self.ask("PUT", "/rules/own/reward-falls", status, version=version, text=text, **more)

    def check(self, text: str = RULE, **more: Any) -> Any:
        return self.ask("POST", "/rules/check", text=text, **more)


@pytest.fixture
def desk(client) -> Desk:
    return Desk(client)
