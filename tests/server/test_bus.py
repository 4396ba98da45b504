"""A hint reaches every listener that lives; nothing that happens to it can hurt or hold up whoever publishes."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import redis
from tests.topology.engines import Redis

from foreshock_server.bus import LocalBus, RedisBus, open_bus


def test_listeners_hear_until_they_end():
    bus, heard = LocalBus(), []
    end = bus.subscribe(heard.append)
    bus.publish("a")
    end()
    end()
    bus.publish("b")
    assert heard == ["a"]
    assert bus.problem() is None


def test_a_listener_that_fails_hurts_neither_the_others_nor_the_publisher(caplog):
    bus, heard = LocalBus(), []

    def fails(run_id: str) -> None:
        raise ValueError(run_id)

    bus.subscribe(fails)
    bus.subscribe(heard.append)
    bus.publish("a")
    assert heard == ["a"]
    assert "a" in caplog.text


def test_without_an_address_hints_stay_within_the_process():
    assert isinstance(open_bus(None), LocalBus)


@pytest.mark.redis
def test_a_hint_crosses_processes_once_and_comes_back_to_nobody(redis_url):
    one, two = RedisBus(redis_url), RedisBus(redis_url)
    heard_one, heard_two = [], []
    one.subscribe(heard_one.append)
    two.subscribe(heard_two.append)
    run = f"test-{time.time()}"
    assert _until(lambda: one.publish(run) or run in heard_two)
    time.sleep(0.3)
    assert one.problem() is None
    own = heard_one.count(run)
    others = heard_two.count(run)
    assert own >= others >= 1  # the first ones may have been sent before the other listened
    one.publish(run + "-last")
    assert _until(lambda: run + "-last" in heard_two)
    time.sleep(0.2)
    assert (heard_one.count(run + "-last"), heard_two.count(run + "-last")) == (1, 1)
    began = time.monotonic()
    one.close()
    two.close()
    assert time.monotonic() - began < 4


def test_publishing_without_redis_is_instant_and_local_listeners_hear():
    bus, heard = RedisBus("redis://127.0.0.1:1"), []
    bus.subscribe(heard.append)
    began = time.monotonic()
    for i in range(5000):
        bus.publish(str(i))
    assert time.monotonic() - began < 2
    assert len(heard) == 5000
    assert "refused" in str(bus.problem())
    bus.close()


def test_a_redis_that_says_nothing_holds_nobody_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bus = RedisBus(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        bus.publish("a")
        assert time.monotonic() - began < 0.5
        assert bus.problem() is not None
        began = time.monotonic()
        bus.close()
        assert time.monotonic() - began < 8


@pytest.mark.redis
def test_hints_cross_again_after_the_connection_was_lost(redis_url):
    """Through a small relay of our own, so that cutting it disturbs nobody else who uses that Redis."""
    relay = Relay(redis_url)
    one, two = RedisBus(redis_url), RedisBus(relay.url)
    heard: list[str] = []
    two.subscribe(heard.append)
    run = f"test-{time.time()}"
    assert _until(lambda: one.publish(run) or run in heard)
    relay.cut()
    heard.clear()
    assert _until(lambda: one.publish(run) or run in heard, 20)
    one.close()
    two.close()
    relay.close()


@pytest.mark.redis
def test_hints_cross_again_after_redis_was_killed_and_those_that_waited_arrive(tmp_path):
    server = Redis(tmp_path)
    server.start()
    one, two = RedisBus(server.url), RedisBus(server.url)
    heard: list[str] = []
    two.subscribe(heard.append)
    assert _until(lambda: one.publish("before") or "before" in heard)
    server.kill()
    assert one.problem() is not None
    one.publish("meanwhile")
    server.start()
    assert _until(lambda: one.publish("after") or "after" in heard, 30)
    assert one.problem() is None
    one.publish("last")
    assert _until(lambda: "last" in heard)
    one.close()
    two.close()
    server.kill()


@pytest.mark.redis
def test_many_hints_travel_as_few_messages(tmp_path):
    server = Redis(tmp_path)
    server.start()
    one, two = RedisBus(server.url), RedisBus(server.url)
    heard: list[str] = []
    two.subscribe(heard.append)
    assert _until(lambda: one.publish("ready") or "ready" in heard)
    with redis.Redis.from_url(server.url) as client:
        before = client.info("commandstats")["cmdstat_publish"]["calls"]
        for number in range(3000):
            one.publish(f"run-{number % 300}")
        assert _until(lambda: {f"run-{number}" for number in range(300)} <= set(heard))
        assert client.info("commandstats")["cmdstat_publish"]["calls"] - before < 30
    one.close()
    two.close()
    server.kill()


@pytest.mark.redis
def test_a_message_that_nobody_understands_hurts_nobody(redis_url):
    bus = RedisBus(redis_url)
    heard: list[str] = []
    bus.subscribe(heard.append)
    with redis.Redis.from_url(redis_url) as client:
        for words in ("0123 run-old", "[1]", "7", '{"a": 1}'):
            client.publish("foreshock", words)
        assert _until(lambda: client.publish("foreshock", '["other", ["run-new"]]') and "run-new" in heard)
    assert all(one == "run-new" or one.startswith(("run-", "test-")) for one in heard)
    bus.close()


class Relay:
    """Passes bytes on to Redis until it is cut; then to new connections only."""

    def __init__(self, redis_url: str) -> None:
        host, _, port = redis_url.removeprefix("redis://").partition("/")[0].partition(":")
        self._target = (host, int(port or 6379))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        self._sockets = []

    def close(self) -> None:
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass


def _until(true, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.05)
    return False
