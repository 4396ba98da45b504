"""Workers share runs evenly, take over from those that die, and go on without Redis; what they store is stored once either way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.topology.engines import Redis
from tests.topology.processes import eventually

from foreshock_server import leases as module
from foreshock_server.bus import LocalBus
from foreshock_server.leases import AllMine, RedisLeases, open_leases, space_of
from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.rules.load import RuleSet

RUNS = [f"run-{number}" for number in range(200)]
SECONDS = 1.5  # of a lease, so that a test need not wait long


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that may be killed."""
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    if redis.running:
        redis.kill()


@pytest.fixture
def hire(private: Redis) -> Iterator:
    """A worker's leases; given back at the end of the test."""
    hired: list[RedisLeases] = []

    def make(space: str = "s") -> RedisLeases:
        hired.append(RedisLeases(private.url, space, seconds=SECONDS))
        return hired[-1]

    yield make
    for one in hired:
        one.close()


def share(one: RedisLeases) -> set[str]:
    return {run for run in RUNS if one.mine(run)}


def shared_evenly(*workers: RedisLeases) -> bool:
    """Every run is exactly one worker's, and no worker has far more than its part."""
    parts = [share(one) for one in workers]
    even = len(RUNS) / len(workers)
    return sum(map(len, parts)) == len(RUNS) == len(set().union(*parts)) and all(
        0.6 * even < len(part) < 1.4 * even for part in parts
    )


@pytest.mark.redis
def test_a_worker_alone_has_every_run_and_gives_half_to_the_next(hire):
    one = hire()
    assert share(one) == set(RUNS)
    two = hire()
    eventually(lambda: shared_evenly(one, two), 20)
    before = share(one)
    time.sleep(2 * SECONDS)  # they are renewed
    assert shared_evenly(one, two)
    assert share(one) == before


@pytest.mark.redis
def test_one_that_stops_gives_back_at_once_what_one_that_is_killed_loses_when_its_lease_ends(hire, private):
    stays, stops = hire(), hire()
    code = (
        "import sys, time; from foreshock_server.leases import RedisLeases\n"
        f"one = RedisLeases({private.url!r}, 's', seconds={SECONDS})\n"
        f"while True:\n    [one.mine(f'run-{{i}}') for i in range(200)]; print(flush=True); time.sleep(0.05)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as dies:
        assert dies.stdout is not None
        dies.stdout.readline()
        eventually(
            lambda: 90 < len(share(stays) | share(stops)) < 180 and not share(stays) & share(stops), 20
        )
        dies.send_signal(signal.SIGKILL)
    eventually(lambda: shared_evenly(stays, stops), 20)
    stops.close()
    eventually(lambda: share(stays) == set(RUNS), 20)


@pytest.mark.redis
def test_while_redis_is_dead_everybody_works_on_everything_and_shares_again_afterwards(hire, private, caplog):
    one, two = hire(), hire()
    eventually(lambda: shared_evenly(one, two), 20)
    private.kill()
    eventually(lambda: share(one) == share(two) == set(RUNS), 20)
    began = time.monotonic()
    share(one)
    assert time.monotonic() - began < 1  # nobody waits for it 200 times
    private.start()
    eventually(lambda: shared_evenly(one, two), 20)
    assert "this worker works on every run" in caplog.text
    assert "Redis answers again" in caplog.text


def test_a_redis_that_was_never_there_costs_a_moment_at_the_start():
    began = time.monotonic()
    one = RedisLeases("redis://127.0.0.1:1", "s")
    assert share(one) == set(RUNS)
    one.close()
    assert time.monotonic() - began < 10


@pytest.mark.redis
def test_a_run_that_nobody_asks_about_is_given_back(hire, monkeypatch):
    monkeypatch.setattr(module, "FORGET_AFTER", 0.0)
    one, two = hire(), hire()
    eventually(lambda: len(one._members) == 2, 20)
    held = next(run for run in RUNS if one.mine(run))
    time.sleep(SECONDS)
    assert held not in one._held
    assert not two.mine(held)  # still the other one's favourite


@pytest.mark.redis
def test_two_databases_in_one_redis_do_not_share(hire):
    one, other = hire("a"), hire("b")
    time.sleep(SECONDS)
    assert share(one) == share(other) == set(RUNS)


def test_a_database_is_the_same_whoever_logs_in():
    one = space_of("postgresql+psycopg://a:secret@host/foreshock")
    assert one == space_of("postgresql+psycopg://b@host/foreshock")
    assert one != space_of("postgresql+psycopg://b@host/other")
    assert "secret" not in one


def test_without_an_address_every_run_is_mine(tmp_path):
    leases = open_leases(None, "sqlite://")
    assert isinstance(leases, AllMine)
    assert leases.mine("run-1")
    leases.close()


# --- what it is for


LOW = """pack: test
rules:
  - id: low
    title: Low
    family: training
    severity: warning
    matches: [{}]
    detector: {kind: threshold, below: 1}
    runbook: {meaning: m, check: [c], try: [{text: t, basis: inference, source: s}]}
    source: s
"""


@pytest.mark.redis
def test_every_transition_is_stored_once_whatever_happens_to_the_leases(
    client, wire, database, settings, private, tmp_path
):
    """Two evaluators; one is killed (its memory is lost) while it holds runs, Redis is killed and comes back."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "low.yaml").write_text(LOW)
    rules = RuleSet.load(settings.model_copy(update={"rules_dir": tmp_path / "rules"}))

    def hired() -> tuple[Evaluator, RedisLeases]:
        leases = RedisLeases(private.url, "s", seconds=SECONDS)
        return Evaluator(database, rules, LocalBus(), settings, leases=leases, settle=1e9), leases

    workers = [hired(), hired()]
    trainers = [wire.Trainer(client, f"run-{number}") for number in range(8)]
    for trainer in trainers:
        trainer.open()

    def tell(seq: int) -> None:
        """Two readings of each run: one episode that begins and ends."""
        for trainer in trainers:
            frames = [wire.frame(1, ["x"])] if seq == 1 else []
            trainer.send(seq, [wire.rows(1, [2 * seq, 2 * seq + 1], [[0.5], [3.0]])], frames)

    def settled(seq: int) -> None:
        def done() -> bool:
            for evaluator, _ in workers:
                evaluator.run_once()
            return all(len(trainer.get("/alerts")["transitions"]) == 2 * seq for trainer in trainers)

        eventually(done, 30)

    tell(1)
    settled(1)
    eventually(lambda: len(workers[0][1]._members) == 2, 20)
    tell(2)
    settled(2)
    assert all(0 < len(leases._held) < 8 for _, leases in workers)
    _, gone = workers.pop(0)  # killed: nothing is stored any more, and its leases end by themselves
    gone._closing.set()
    tell(3)
    settled(3)
    workers.append(hired())
    private.kill()
    tell(4)
    settled(4)
    private.start()
    tell(5)
    settled(5)
    for evaluator, leases in workers:
        evaluator.close()
        leases.close()
    for trainer in trainers:
        told = [(one["kind"], one["step"]) for one in trainer.get("/alerts")["transitions"]]
        assert sorted(told, key=lambda one: one[1]) == [
            (kind, 2 * seq + late) for seq in range(1, 6) for late, kind in enumerate(("fired", "resolved"))
        ]
