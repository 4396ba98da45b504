"""How fast one key may ask: in one process, in several through Redis, and while Redis is dead."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from foreshock_server.app import create_app
from foreshock_server.auth import buckets, limits
from foreshock_server.auth.buckets import Demand, LocalBuckets, SharedBuckets
from foreshock_server.auth.limits import BURST
from foreshock_server.settings import Settings

BOOT = {"Authorization": "Bearer the-key-of-the-settings"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_then_its_rate():
    clock = Clock()
    local = LocalBuckets(clock)
    demand = Demand("a", 1.0, per_second=2.0, burst=5.0)
    assert [local.take([demand]) for _ in range(5)] == [0.0] * 5
    assert local.take([demand]) == 0.5
    clock.now += 0.5
    assert [local.take([demand]), local.take([demand])] == [0.0, 0.5]
    clock.now += 1000
    assert [local.take([demand]) for _ in range(6)] == [0.0] * 5 + [0.5]
    assert local.take([demand._replace(bucket="b")]) == 0.0, "each has its own"


def test_demands_are_granted_together_or_not_at_all():
    local = LocalBuckets(Clock())
    requests, size = Demand("r", 1.0, 1.0, 3.0), Demand("b", 10.0, 10.0, 20.0)
    assert [local.take([requests, size]) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert local.take([requests]) == 0.0, "the refused one took no request away"
    assert local.take([requests]) == 1.0


def test_buckets_that_nobody_uses_are_forgotten(monkeypatch):
    monkeypatch.setattr(buckets, "MOST_BUCKETS", 10)
    local = LocalBuckets(Clock())
    for number in range(100):
        local.take([Demand(str(number), 1.0, 1.0, 2.0)])
    assert len(local._levels) == 10


@pytest.fixture
def limited(migrated_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """On a clock that stands still, as a slow machine earns new tokens between two requests."""
    monkeypatch.setattr(limits, "LocalBuckets", lambda: LocalBuckets(Clock()))
    small = {
        "ingest_requests_per_second": 1,
        "ingest_bytes_per_second": 2000,
        "read_requests_per_second": 0.5,
    }
    settings = Settings(
        **{**settings.model_dump(), **small, "api_key": "the-key-of-the-settings", "max_block_bytes": 1024}
    )
    with TestClient(create_app(settings)) as client:
        yield client


def ask(client, number, path="/api/v1/rules", **more):
    return [client.get(path, headers=BOOT, **more) for _ in range(number)]


def test_more_than_the_limit_is_429_with_a_time_and_a_sentence(limited):
    answers = ask(limited, 6)
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    refused = answers[-1]
    assert refused.json()["error"] == "TooFast"
    assert "send again in 2 s" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "2"
    assert limited.get("/healthz").status_code == 200
    assert limited.get("/").status_code == 200


def put(client, size=0):
    body = {"project": "p", "started_at": 1, "attempt": 1, "writer": "w", "config": {"x": "y" * size}}
    return client.put("/api/v1/runs/r", json=body, headers=BOOT)


def test_reading_and_sending_have_limits_of_their_own(limited):
    ask(limited, 6)
    answers = [put(limited).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_bytes_are_counted_and_a_body_that_does_not_say_its_size_counts_as_the_largest(limited):
    big = [put(limited, 900).status_code for _ in range(3)]
    assert big == [200] * 3

    def chunks():
        yield b"{}"

    chunked = [
        limited.put(
            "/api/v1/runs/r", content=chunks(), headers={**BOOT, "Content-Type": "application/json"}
        ).status_code
        for _ in range(7)
    ]
    assert chunked[0] == 422
    last = limited.put(
        "/api/v1/runs/r", content=chunks(), headers={**BOOT, "Content-Type": "application/json"}
    )
    assert last.status_code == 429


def test_without_a_limit_nobody_waits(migrated_url, settings):
    off = {"ingest_requests_per_second": 0, "ingest_bytes_per_second": 0, "read_requests_per_second": 0}
    free = Settings(**{**settings.model_dump(), **off, "api_key": "the-key-of-the-settings"})
    with TestClient(create_app(free)) as client:
        assert {answer.status_code for answer in ask(client, 30)} == {200}


def test_two_hundred_runs_at_a_block_a_second_are_far_from_the_defaults():
    clock = Clock()
    local, settings = LocalBuckets(clock), Settings()
    rate, size = settings.ingest_requests_per_second, settings.ingest_bytes_per_second
    for _ in range(
        60
    ):  # all at once at the beginning of each second, of 64 KB, and each run opened and closed too
        for _ in range(600):
            demands = [Demand("r", 1.0, rate, BURST * rate), Demand("b", 65536.0, size, BURST * size)]
            assert local.take(demands) == 0.0
        clock.now += 1.0


def test_a_machine_of_its_own_needs_no_limit(migrated_url, settings):
    slow = Settings(**{**settings.model_dump(), "read_requests_per_second": 0.1})
    with TestClient(create_app(slow), client=("127.0.0.1", 5)) as client:
        assert {client.get("/api/v1/rules").status_code for _ in range(20)} == {200}
    with TestClient(create_app(slow), client=("10.0.0.7", 5)) as client:
        assert [client.get("/api/v1/rules").status_code for _ in range(2)] == [200, 429]


def test_guessing_is_slowed_and_keys_that_hold_are_not(migrated_url, settings):
    locked = Settings(**{**settings.model_dump(), "api_key": "the-key-of-the-settings"})
    with TestClient(create_app(locked)) as client:
        began = time.monotonic()
        guesses = [client.post("/api/v1/session", json={"key": f"guess-{i}"}) for i in range(150)]
        statuses = [answer.status_code for answer in guesses]
        assert statuses.count(401) <= 100 + 10 * (time.monotonic() - began) + 1
        if statuses.count(429) == 0:
            pytest.fail(f"150 guesses in {time.monotonic() - began:.1f} s were all answered")
        assert client.get("/api/v1/runs", headers=BOOT).status_code == 200


# -- shared -----------------------------------------------------------------------------------------------------


def demand(name, tokens=1.0, per_second=2.0, burst=10.0):
    return Demand(name, tokens, per_second, burst)


@pytest.mark.redis
def test_two_processes_share_one_bucket(redis_url):
    name = uuid.uuid4().hex

    async def both():
        one, other = SharedBuckets(redis_url), SharedBuckets(redis_url)
        waits = [await shared.take([demand(name)]) for _ in range(10) for shared in (one, other)]
        await one.close()
        await other.close()
        return waits

    began = time.monotonic()
    waits = asyncio.run(both())
    granted = waits.count(0.0)
    assert 9 <= granted <= 10 + 2 * (time.monotonic() - began) + 1
    assert all(0 < wait <= 0.5 for wait in waits if wait)


@pytest.mark.redis
def test_a_request_costs_one_exchange_at_most_and_a_busy_key_far_less(redis_url):
    name = uuid.uuid4().hex

    async def busy():
        shared = SharedBuckets(redis_url)
        asked = 0
        ask = shared._ask

        async def counted(*arguments):
            nonlocal asked
            asked += 1
            return await ask(*arguments)

        shared._ask = counted
        began = time.monotonic()
        for _ in range(2000):
            demands = [demand(name, 1.0, 2000.0, 20_000.0), demand(name + "b", 1000.0, 2.7e8, 2.7e9)]
            assert await shared.take(demands) == 0.0
        took = time.monotonic() - began
        await shared.close()
        return asked, took

    asked, _took = asyncio.run(busy())
    assert asked <= 2000 / 50, "a twentieth of a second's worth is taken at a time"


@pytest.mark.redis
def test_redis_grants_together_or_not_at_all_too(redis_url):
    name = uuid.uuid4().hex

    async def turns():
        shared = SharedBuckets(redis_url)
        requests, size = demand(name, 1, 0.1, 3), demand(name + "b", 10, 0.1, 20)
        waits = [await shared.take([requests, size]) for _ in range(3)]
        after = [await shared.take([requests]) for _ in range(2)]
        await shared.close()
        return waits, after

    waits, after = asyncio.run(turns())
    assert [wait > 0 for wait in waits] == [False, False, True]
    assert [wait > 0 for wait in after] == [False, True]


def test_while_redis_is_dead_this_process_limits_alone_and_does_not_wait():
    async def turns():
        shared = SharedBuckets("redis://127.0.0.1:1/0")
        waits = [await shared.take([demand("x", burst=3.0)]) for _ in range(6)]
        began = time.monotonic()
        for _ in range(200):
            await shared.take([demand("x", burst=3.0)])
        quick = time.monotonic() - began
        resting = shared._resting_until
        await shared.close()
        return waits, quick, resting

    waits, quick, resting = asyncio.run(turns())
    assert [wait > 0 for wait in waits] == [False] * 3 + [True] * 3
    assert resting > time.monotonic() - 60
    assert quick < 0.25 * 200, "not one try of Redis for each"


def test_a_redis_that_says_nothing_costs_a_quarter_of_a_second_once():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        accepting = threading.Thread(target=lambda: silent.accept(), daemon=True)
        accepting.start()

        async def turn():
            shared = SharedBuckets(f"redis://127.0.0.1:{port}/0")
            first = await shared.take([demand("x")])
            tried = shared._resting_until
            second = await shared.take([demand("x")])
            again = shared._resting_until
            await shared.close()
            return first, second, tried == again

        assert asyncio.run(turn()) == (0.0, 0.0, True)


@pytest.mark.redis
def test_replicas_share_the_limit_of_a_key(migrated_url, settings, redis_url, monkeypatch):
    from foreshock_server.auth import keys

    monkeypatch.setattr(keys, "SETTINGS", uuid.uuid4().hex)
    monkeypatch.setattr("foreshock_server.auth.keyring.SETTINGS_KEY.id", uuid.uuid4().hex)
    small = {"read_requests_per_second": 0.5, "api_key": "the-key-of-the-settings", "redis_url": redis_url}
    settings = Settings(**{**settings.model_dump(), **small})
    with TestClient(create_app(settings)) as one, TestClient(create_app(settings)) as other:
        statuses = [
            client.get("/api/v1/rules", headers=BOOT).status_code for _ in range(4) for client in (one, other)
        ]
    assert statuses.count(200) in (5, 6)
    assert 429 in statuses
