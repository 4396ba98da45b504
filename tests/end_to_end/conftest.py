"""A real server process and a real receiver for the tests that kill things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.topology.processes import Server

from foreshock.demo.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def server(tmp_path: Path, receiver: Receiver) -> Iterator[Server]:
    server = Server(
        tmp_path / "data",
        {"FORESHOCK_WEBHOOK_URL": receiver.url, "FORESHOCK_WEBHOOK_SECRET": receiver.secret},
    )
    server.start()
    yield server
    server.stop()
