"""The places of the crash matrix, each started once for all its rounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.place import Place
from tests.topology.processes import HASTY, Server, Worker
from tests.topology.scale import Topology, topology_in

from foreshock.demo.receiver import Receiver


def alerts_to(receiver: Receiver) -> dict[str, str]:
    """What a server must be told to send its alerts there."""
    return {"FORESHOCK_WEBHOOK_URL": receiver.url, "FORESHOCK_WEBHOOK_SECRET": receiver.secret}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


class Embedded(Place):
    """One process with everything in it, over SQLite."""

    def __init__(self, receiver: Receiver, folder: Path, environment: dict[str, str]) -> None:
        self.server = Server(folder / "data", {**alerts_to(receiver), **environment})
        super().__init__(self.server.url, receiver, folder)


@pytest.fixture(scope="module")
def embedded(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    place = Embedded(receiver, tmp_path_factory.mktemp("embedded"), {})
    place.server.start()
    try:
        yield place
        place.close()
    finally:
        place.server.stop()


class Parted(Embedded):
    """The API and a worker that seals at once in two processes, over one SQLite file."""

    def __init__(self, receiver: Receiver, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(receiver, folder, {**environment, "FORESHOCK_WORKERS": "false"})
        self.worker = Worker(self.server.data_dir, self.server.environment, module=HASTY)


@pytest.fixture(scope="module")
def parted(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parted]:
    place = Parted(receiver, tmp_path_factory.mktemp("parted"), {})
    place.server.start()
    place.worker.start()
    try:
        yield place
        place.close()
    finally:
        place.worker.stop()
        place.server.stop()


class Scaled(Place):
    """All of docker-compose.yml, over a PostgreSQL and a Redis of its own."""

    def __init__(self, receiver: Receiver, folder: Path, topology: Topology) -> None:
        self.topology = topology
        super().__init__(topology.url, receiver, folder)


@pytest.fixture(scope="module")
def scaled(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    topology = topology_in(tmp_path_factory.mktemp("scaled"), alerts_to(receiver), workers=HASTY)
    try:
        place = Scaled(receiver, tmp_path_factory.mktemp("scaled-runs"), topology)
        yield place
        place.close()
    finally:
        topology.close()
