"""A training job with a key: of its project, or of another; what it recorded is never lost."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.topology.processes import Server

import foreshock

ADMIN = "the-key-of-the-settings"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", {"FORESHOCK_API_KEY": ADMIN})
    server.start()
    yield server
    server.stop()


def make_key(tmp_path: Path, *words: str) -> str:
    """`foreshock keys create …` beside the running server."""
    command = [sys.executable, "-m", "foreshock_server", "keys", "create", "job", *words]
    made = subprocess.run([*command, "--data-dir", str(tmp_path / "data")], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def train(server: Server, spool: Path, key: str, project: str, steps: int) -> foreshock.Run:
    run = foreshock.init(project=project, run="job", url=server.url, dir=spool, api_key=key, flush_seconds=20)
    for step in range(steps):
        run.log(loss=1.0 / (1 + step))
        run.step()
    return run


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def stored(server: Server) -> list[int]:
    return [int(step) for step in foreshock.Client(server.url, ADMIN).run("job").series("loss").steps]


def test_a_key_of_the_project_is_enough(locked: Server, tmp_path: Path) -> None:
    key = make_key(tmp_path, "--scope", "ingest", "--project", "mine")
    train(locked, tmp_path / "spool", key, "mine", 50).finish()
    assert stored(locked) == list(range(50))
    with pytest.raises(foreshock.ForeshockError):
        foreshock.Client(locked.url, key).run("job").series("loss")


def test_a_key_of_another_project_is_told_once_and_the_spool_keeps_everything(
    locked: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    key = make_key(tmp_path, "--scope", "ingest", "--project", "theirs")
    run = train(locked, tmp_path / "spool", key, "mine", 50)
    until(lambda: "'theirs' alone" in caplog.text)
    run.finish()
    told = [record.message for record in caplog.records if "FORESHOCK_API_KEY" in record.message]
    assert len(told) == 1
    assert "Training goes on" in told[0]
    assert key not in caplog.text
    right = make_key(tmp_path, "--scope", "ingest", "--project", "mine")
    command = [sys.executable, "-m", "foreshock", "sync", str(tmp_path / "spool")]
    environment = {**os.environ, "FORESHOCK_API_KEY": right, "FORESHOCK_URL": locked.url}
    synced = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert stored(locked) == list(range(50))
