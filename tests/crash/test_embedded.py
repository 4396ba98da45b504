"""The crash matrix over SQLite: trainer, server, and the process that evaluates and seals, killed with signal 9."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from tests.crash.conftest import Embedded, Parted
from tests.crash.logged import STEPS
from tests.crash.place import ROUNDS, SPOOLED_AFTER
from tests.topology.processes import eventually

pytestmark = pytest.mark.slow


def downtime(rng: random.Random) -> None:
    """What passes between a death and the restart."""
    time.sleep(rng.uniform(0.0, 0.3))


@pytest.mark.parametrize("seed", ROUNDS)
def test_a_killed_server(embedded: Embedded, seed: int) -> None:
    def kill(rng: random.Random) -> None:
        embedded.server.kill()
        downtime(rng)
        embedded.server.start()

    embedded.round("server", seed, kill)


@pytest.mark.parametrize("seed", ROUNDS)
def test_a_killed_worker_that_judges_and_seals(parted: Parted, seed: int) -> None:
    def kill(rng: random.Random) -> None:
        for _ in range(3):  # each at another moment of its work
            parted.worker.kill()
            parted.worker.start()
            time.sleep(rng.uniform(0.0, 0.2))

    parted.round("sealer", seed, kill)

    def sealed() -> bool:
        with closing(sqlite3.connect(parted.server.data_dir / "foreshock.db")) as database:
            count = "SELECT count(*) FROM segments WHERE run_id = ?"
            found: int = database.execute(count, (f"sealer-{seed}",)).fetchone()[0]
            return found > 0

    eventually(sealed, 60.0, lambda: "nothing was sealed")


@pytest.mark.parametrize("seed", ROUNDS)
def test_a_killed_trainer(embedded: Embedded, seed: int) -> None:
    """What lay in the spool is stored once; what did not was handed over just before, and is the end of what was.

    The next attempt goes on from there or from an earlier checkpoint, and the spool is shipped before it or after it.
    """
    rng = random.Random(f"trainer {seed}")
    run_id = f"trainer-{seed}"
    killed = embedded.trainer(run_id)
    killed.reach(0)
    killed.reach(rng.randrange(20, STEPS - 50))
    time.sleep(rng.uniform(0.0, 0.1))
    handed_over = killed.kill()
    spooled = killed.spooled()
    first = len(spooled)
    assert spooled == list(range(first)), "the spool has gaps or doubles"
    lost = [(step, ago) for step, ago in handed_over if step >= first]
    assert all(ago < SPOOLED_AFTER for _, ago in lost), f"lost although handed over long before: {lost}"
    checkpoint = first if rng.random() < 0.5 else rng.randrange(max(first, 1))
    early = rng.random() < 0.5
    if early:
        sync(embedded, run_id)
    resumed = embedded.trainer(run_id, attempt=2, first=checkpoint)
    resumed.end()
    if not early:
        sync(embedded, run_id)
    embedded.settled(run_id, in_order=early and checkpoint == first, repeated=first - checkpoint)


def sync(place: Embedded, run_id: str) -> None:
    """What a person does with the spool of a process that is gone; twice, since the second time must change nothing."""
    for _ in range(2):
        shipped = subprocess.run(
            [sys.executable, "-m", "foreshock", "sync", str(place.folder / run_id), "--url", place.url],
            env=dict(os.environ),
            capture_output=True,
            text=True,
        )
        assert shipped.returncode == 0, shipped.stdout + shipped.stderr
