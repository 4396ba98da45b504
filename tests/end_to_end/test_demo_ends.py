"""A demo that is told to end takes along everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_demo_that_is_terminated_leaves_no_process_behind(tmp_path: Path) -> None:
    mark = str(tmp_path / "data")  # stands in the command line of the server and of the trainings
    with (tmp_path / "log").open("w") as log:
        demo = subprocess.Popen(
            [sys.executable, "-m", "foreshock", "demo", "--exit", "--data-dir", mark],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    deadline = time.monotonic() + 60
    while not {"serve", "pretrain"} <= words_of_processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {"serve", "pretrain"} <= words_of_processes_with(mark), (tmp_path / "log").read_text()
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(30) == 143
    assert words_of_processes_with(mark) == set()


def words_of_processes_with(mark: str) -> set[str]:
    """The words of the command lines in which the mark stands."""
    words: set[str] = set()
    for line in subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        if mark in line:
            words |= set(line.split())
    return words
