"""The crash matrix over PostgreSQL and Redis, two replicas and two workers: each of them killed with signal 9."""

from __future__ import annotations

import random
import time

import pytest
from tests.crash.conftest import Scaled
from tests.crash.place import ROUNDS

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]


@pytest.mark.parametrize("seed", ROUNDS)
@pytest.mark.parametrize("victim", ["replica", "worker", "postgres", "redis"])
def test_a_killed(scaled: Scaled, victim: str, seed: int) -> None:
    """Of two of a kind, one goes on alone for a while."""
    topology = scaled.topology

    def kill(rng: random.Random) -> None:
        process = {
            "replica": rng.choice(topology.replicas),
            "worker": rng.choice(topology.workers),
            "postgres": topology.postgres,
            "redis": topology.redis,
        }[victim]
        process.kill()
        time.sleep(rng.uniform(0.0, 1.0))
        process.start()

    scaled.round(victim, seed, kill)
