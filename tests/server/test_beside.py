"""A server with its worker in a process of its own: the same alerts, whichever of the two is killed, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foreshock_server.link import Link, pair

PATIENCE = 60.0  # seconds


def until(held: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not held():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def joined(ended: Callable[[], None] = lambda: None) -> Iterator[tuple[Link, Link]]:
    near, far = Link(), Link(ended)
    for link, end in zip((near, far), pair(), strict=True):
        link.join(end)
    try:
        yield near, far
    finally:
        near.close()
        far.close()


def test_hints_reach_the_listeners_of_both_sides_and_each_once():
    with joined() as (near, far):
        here: list[str] = []
        there: list[str] = []
        near.subscribe(here.append)
        far.subscribe(there.append)
        near.publish("a")
        until(lambda: there == ["a"])
        far.publish("b")
        until(lambda: here == ["a", "b"])
        time.sleep(0.2)
        assert here == ["a", "b"]
        assert there == ["a", "b"]


def test_a_report_reaches_the_other_side():
    with joined() as (near, far):
        heard: list[object] = []
        near.on_report(heard.append)
        far.report({"seal": {"rounds": 3}})
        until(lambda: heard == [{"seal": {"rounds": 3}}])


def test_the_end_of_one_side_is_told_to_the_other_once():
    ended: list[int] = []
    with joined(lambda: ended.append(1)) as (near, _):
        near.close()
        until(lambda: ended == [1])
    assert ended == [1]


def test_a_link_without_another_end_is_a_bus_of_this_process_and_can_be_joined_again():
    link, heard = Link(), []
    link.subscribe(heard.append)
    link.publish("alone")
    for name in ("first", "second"):
        ours, theirs = pair()
        link.join(ours)
        theirs.sendall(b'{"runs": ["%s"]}\n{"runs": [' % name.encode())  # what follows is cut off
        until(lambda name=name: name in heard)
        theirs.close()
    assert heard == ["alone", "first", "second"]
    link.close()


def test_nobody_waits_for_a_side_that_does_not_read():
    link = Link()
    ours, theirs = pair()
    link.join(ours)
    began = time.monotonic()
    for number in range(50_000):
        link.publish(f"run-{number}")
    assert time.monotonic() - began < PATIENCE / 2
    theirs.close()
    link.close()
    assert not any(one.name.startswith("foreshock-link") and one.is_alive() for one in _soon_ended())


def _soon_ended() -> list[threading.Thread]:
    end = time.monotonic() + 10
    while time.monotonic() < end and any(
        one.name == "foreshock-link-receive" for one in threading.enumerate()
    ):
        time.sleep(0.05)
    return threading.enumerate()


@pytest.fixture
def served(wire, tmp_path):
    served = wire.Served(tmp_path, FORESHOCK_WORKERS="process").start("--port", "0")
    yield served
    served.stop()


def workers() -> list[int]:
    """The worker processes that servers of this test began: those below one that we began."""
    return [pid for pid in _descendants(os.getpid()) if b"--link" in _words(pid)]


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _parents() -> dict[int, int]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return found


def _descendants(pid: int) -> list[int]:
    parents = _parents()
    below = [child for child, parent in parents.items() if parent == pid]
    return below + [one for child in below for one in _descendants(child)]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_judges_what_the_server_stores_and_is_started_again_when_it_is_killed(served, wire):
    until(lambda: len(workers()) == 1)
    [first] = workers()
    trainer = wire.Trainer(served.http)
    trainer.open()
    trainer.send(1, [wire.rows(1, [1], [[float("nan")]])], [{"frame": 1, "series": [wire.series("loss")]}])
    until(lambda: trainer.get()["firing"] == 1)
    until(lambda: served.http.get("/readyz").json()["status"] == "ok")
    until(
        lambda: 'foreshock_stage_rounds_total{stage="evaluate"} 0.0' not in served.http.get("/metrics").text
    )
    os.kill(first, signal.SIGKILL)
    until(lambda: "worker process ended" in served.http.get("/readyz").text)
    trainer.send(
        2, [wire.rows(2, [2], [[float("nan")]])], [{"frame": 2, "series": [wire.series("loss/other")]}]
    )
    until(lambda: trainer.get()["firing"] == 2)
    until(lambda: served.http.get("/readyz").json()["status"] == "ok")
    assert workers() not in ([], [first])


def test_it_ends_with_its_server_however_that_ends(wire, tmp_path):
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        served = wire.Served(tmp_path, FORESHOCK_WORKERS="process").start("--port", "0")
        until(lambda: len(workers()) == 1)
        [pid] = workers()
        status = served.stop(name)
        assert (status == 0) is (name != signal.SIGKILL)
        until(lambda pid=pid: not lives(pid))
        if name != signal.SIGKILL:
            assert "Traceback" not in served.output[1]
