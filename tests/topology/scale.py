"""docker-compose.yml's topology by hand: PostgreSQL, Redis, two replicas behind one port, two workers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from .balancer import Balancer
from .engines import Postgres, Redis, postgres_binaries
from .processes import ORDINARY, Process, Server, Worker, foreshock


class Topology:
    """All of it; `url` is the one port that clients see."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, *, workers: str = ORDINARY
    ) -> None:
        self._folder = folder
        self._module = workers
        self._given = dict(environment or {})
        self._started: list[Process] = []

    def start(self) -> None:
        """Start all of it, or nothing."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.postgres = Postgres()
        self.redis = Redis(self._folder)
        for engine in (self.postgres, self.redis):
            self._begin(engine)
        environment = {
            **self._given,
            "FORESHOCK_DATABASE_URL": self.postgres.url,
            "FORESHOCK_REDIS_URL": self.redis.url,
            "FORESHOCK_WORKERS": "false",
        }
        subprocess.run(
            foreshock("migrate"),
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            timeout=120,
        )
        data = self._folder / "data"
        self.replicas = [Server(data, environment, name=f"replica-{number}") for number in (1, 2)]
        self.workers = [
            Worker(data, environment, name=f"worker-{number}", module=self._module) for number in (1, 2)
        ]
        for process in (*self.replicas, *self.workers):
            self._begin(process)
        self.balancer = Balancer([replica.port for replica in self.replicas])
        self.url = self.balancer.url

    def _begin(self, process: Process) -> None:
        process.start()
        self._started.append(process)

    def close(self) -> None:
        """End everything, and remove the cluster."""
        if hasattr(self, "balancer"):
            self.balancer.close()
        for process in reversed(self._started):
            process.stop()
        if hasattr(self, "postgres"):
            self.postgres.remove()


def topology_in(
    folder: Path, environment: Mapping[str, str] | None = None, *, workers: str = ORDINARY
) -> Topology:
    """A topology that runs, its workers ordinary or hasty. Without the programs that it needs the test skips, or fails where all services must be there."""
    lacking = [
        name
        for name, found in (
            ("PostgreSQL", postgres_binaries()),
            ("redis-server", shutil.which("redis-server")),
        )
        if found is None
    ]
    if lacking:
        reason = f"{' and '.join(lacking)} must be installed to run this"
        if os.environ.get("FORESHOCK_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    topology = Topology(folder, environment, workers=workers)
    topology.start()
    return topology
