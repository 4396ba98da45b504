"""The same answers from one server over SQLite, from docker-compose.yml's topology, and from an address that somebody gives.

The wheel in an environment of its own is the fourth: tests/package/test_wheel.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.checks import CHECKS
from tests.conformance.subject import Subject
from tests.topology.processes import HASTY, ORDINARY, Server
from tests.topology.scale import topology_in

pytestmark = pytest.mark.slow

GIVEN = os.environ.get("FORESHOCK_CONFORMANCE_URL")
KEY = "conformance-conformance"  # that of the services which are started here and want one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="module", params=["open", "with a key", "sealing at once", "in one process"])
def embedded(folder: Path, request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A server that anyone on this machine may ask, or only who has its key; one that seals all it can; one without a worker beside it."""
    key = KEY if request.param == "with a key" else None
    home = folder / request.param.replace(" ", "-") / "data"
    module = HASTY if request.param == "sealing at once" else ORDINARY
    workers = {"FORESHOCK_WORKERS": "true"} if request.param == "in one process" else {}
    server = Server(home, {"FORESHOCK_API_KEY": key or "", **workers}, module=module)
    server.start()
    yield Subject(server.url, folder, key)
    server.stop()


@pytest.fixture(scope="module")
def scaled(folder: Path) -> Iterator[Subject]:
    """Two replicas behind one port and two workers, over PostgreSQL and Redis."""
    topology = topology_in(folder, {"FORESHOCK_API_KEY": KEY})
    yield Subject(topology.url, folder, KEY)
    took = topology.balancer.taken
    topology.close()
    assert all(took.values()), f"not all replicas answered: {took}"


@pytest.fixture(scope="module")
def given(folder: Path) -> Subject:
    """Whatever runs at FORESHOCK_CONFORMANCE_URL, with FORESHOCK_API_KEY."""
    assert GIVEN is not None
    host = os.environ.get("FORESHOCK_CONFORMANCE_RECEIVER", "127.0.0.1")
    return Subject(GIVEN.rstrip("/"), folder, os.environ.get("FORESHOCK_API_KEY"), host)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_one_process(embedded: Subject, check: Callable[[Subject], None]) -> None:
    check(embedded)


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_topology_of_the_compose_file(scaled: Subject, check: Callable[[Subject], None]) -> None:
    check(scaled)


if GIVEN is not None:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_the_given_address(given: Subject, check: Callable[[Subject], None]) -> None:
        check(given)
