"""A disk fills up while a run goes on: training goes on, readers are answered, and with room again everything arrives once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from tests.crash.conftest import Embedded
from tests.crash.disks import Disk, Quota, small_disk
from tests.crash.place import Trainer
from tests.topology.processes import eventually

from foreshock.demo.receiver import Receiver

pytestmark = pytest.mark.slow


KINDS = ("file system", "quota")


@contextmanager
def disk_at(home: Path, kind: str) -> Iterator[Disk]:
    """A disk for what lies at this path, which must not exist yet."""
    with small_disk(home) as mounted:
        disk: Disk | None = mounted if kind == "file system" else Quota()
        if disk is None:
            pytest.skip("this user may not mount a file system")
        yield disk


@pytest.fixture(scope="module", params=KINDS)
def full(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Embedded, Disk]]:
    """A server and spools on one disk."""
    home = tmp_path_factory.mktemp("full") / "disk"
    with disk_at(home, request.param) as disk:
        place = Embedded(receiver, home, {})
        place.server.log = home.with_name("server.log")  # what it says is not what is full
        place.server.start()
        try:
            yield place, disk
            place.close()
        finally:
            place.server.stop()


def test_of_the_server(full: tuple[Embedded, Disk], tmp_path: Path) -> None:
    place, disk = full
    assert place.calm
    trainer = Trainer(place.url, tmp_path / "spool", "server-full")  # on another disk
    trainer.reach(100)
    disk.fill(place.server.pid)
    try:
        refusal: dict[str, str] = {}
        eventually(lambda: refusal.update(refused(place.url)) or bool(refusal), says=lambda: refusal)
        assert refusal["error"] == ("DatabaseAway" if isinstance(disk, Quota) else "StorageFull")
        assert float(refusal["retry-after"]) > 0
        assert place.client.run("calm").series("loss").steps[-1] > 0, "what is stored can still be read"
        trainer.reach(250)
    finally:
        disk.free(place.server.pid)
    trainer.end()
    place.settled("server-full")


@pytest.mark.parametrize("kind", KINDS)
def test_of_the_spool(embedded: Embedded, tmp_path: Path, kind: str) -> None:
    """What cannot be written goes to the server from memory."""
    run_id = f"spool-{kind.replace(' ', '-')}"
    with disk_at(tmp_path / "disk", kind) as disk:
        trainer = Trainer(embedded.url, tmp_path / "disk" / "spool", run_id)
        trainer.reach(80)
        disk.fill(trainer.pid)
        trainer.reach(250)
        disk.free(trainer.pid)
        trainer.end()
    embedded.settled(run_id)


def test_of_both(full: tuple[Embedded, Disk]) -> None:
    """Nothing can be written anywhere: memory holds what was logged until there is room."""
    place, disk = full
    assert place.calm
    trainer = place.trainer("both-full")
    trainer.reach(100)
    for pid in (place.server.pid, trainer.pid) if isinstance(disk, Quota) else (0,):
        disk.fill(pid)
    trainer.reach(300)
    for pid in (place.server.pid, trainer.pid) if isinstance(disk, Quota) else (0,):
        disk.free(pid)
    trainer.end()
    place.settled("both-full")


def refused(url: str) -> dict[str, str]:
    """What a request to store something is answered; empty while it is stored."""
    opening = {"project": "p", "started_at": 0, "attempt": 1, "writer": "r0-a", "info": {}}
    answer = urllib3.request("PUT", f"{url}/api/v1/runs/probe", json=opening, timeout=30, retries=False)
    if answer.status == 200:
        return {}
    assert answer.status == 503, answer.data
    return {**answer.json(), "retry-after": answer.headers["Retry-After"]}
