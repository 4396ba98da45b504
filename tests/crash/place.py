"""Where rounds take place: an address, a receiver of alerts, and for each round a trainer, something killed, and an exact count."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash import ledger
from tests.crash.logged import STEPS
from tests.topology.processes import ROOT, eventually, with_us

from foreshock.demo.receiver import Receiver
from foreshock.query.client import Client, ForeshockError
from foreshock.record.wire import Rows, unpack_block
from foreshock.spool.folder import Folder, Reader, folders_below
from foreshock.spool.segment import Kind

SEEDS = tuple(range(1000, 1050))
ROUNDS = SEEDS[: int(os.environ.get("FORESHOCK_CRASH_ROUNDS", "3"))]
PAUSE = 0.003  # seconds between two steps of a trainer
SPOOLED_AFTER = (
    2.0  # seconds after which a step that was handed over lies in the spool, eight times what the SDK aims at
)


class Trainer:
    """One attempt of one run, in a process of its own."""

    def __init__(self, url: str, spool: Path, run_id: str, *, attempt: int = 1, first: int = 0) -> None:
        self.spool = spool
        self.log = spool.with_name(f"{spool.name}-{attempt}.log")
        spool.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *with_us(),
                    sys.executable,
                    "-m",
                    "tests.crash.trainer",
                    run_id,
                    str(attempt),
                    str(first),
                    str(PAUSE),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "FORESHOCK_URL": url,
                    "FORESHOCK_DIR": str(spool),
                    "FORESHOCK_FLUSH_SECONDS": "60",
                },
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def reach(self, step: int) -> None:
        """Return once this step was handed over."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if int(line.split()[0]) >= step:
                return
        raise AssertionError(f"the trainer ended early: {self.log.read_text()}")

    def end(self) -> None:
        """Wait until it has logged and delivered everything."""
        self._process.communicate(timeout=180)
        assert self._process.returncode == 0, self.log.read_text()

    def kill(self) -> list[tuple[int, float]]:
        """The steps that it had handed over, with the seconds before its death."""
        at = time.monotonic()
        self._process.kill()
        said, _ = self._process.communicate()
        lines = [line.split() for line in said.splitlines() if line.count(" ") == 1]
        return [(int(step), at - float(when)) for step, when in lines]

    def spooled(self) -> list[int]:
        """The steps that lie in its spool, as they lie there."""
        steps: list[int] = []
        for folder in folders_below(self.spool):
            steps += _steps_in(folder)
        return steps


def _steps_in(folder: Folder) -> list[int]:
    reader, steps = Reader(folder), []
    narrow = (
        0  # the number of the frame with what was logged: that of the first row, the monitor's comes last
    )
    while records := reader.read(complete=True):
        for record in records:
            if record.kind is not Kind.BLOCK:
                continue
            for packed in unpack_block(record.payload)["rows"]:
                narrow = narrow or packed["frame"]
                if packed["frame"] == narrow:
                    steps += Rows.from_wire(packed, "f64").steps.tolist()
    assert reader.damaged == 0, f"{reader.damaged} readings of the spool cannot be read"
    return steps


class Place:
    """A service that answers at `url` and sends its alerts to `receiver`, whatever is killed in it."""

    def __init__(self, url: str, receiver: Receiver, folder: Path) -> None:
        self.url = url
        self.receiver = receiver
        self.folder = folder
        self.client = Client(url)
        self._calm: tuple[list[ledger.Transition], set[tuple[str, str, int]]] | None = None
        self._runs: list[tuple[str, bool, int]] = []

    def trainer(self, run_id: str, *, attempt: int = 1, first: int = 0) -> Trainer:
        """A trainer of this place, under way."""
        return Trainer(self.url, self.folder / run_id, run_id, attempt=attempt, first=first)

    def round(self, name: str, seed: int, kill: Callable[[random.Random], None]) -> None:
        """One run during which `kill` kills something and starts it again, at a moment that the seed chooses; then the count."""
        rng = random.Random(f"{name} {seed}")
        trainer = self.trainer(f"{name}-{seed}")
        trainer.reach(rng.randrange(20, STEPS - 50))
        time.sleep(rng.uniform(0.0, 0.1))
        kill(rng)
        trainer.end()
        try:
            self.settled(f"{name}-{seed}")
        except AssertionError as error:
            said = trainer.log.read_text()[-2000:]
            raise AssertionError(
                f"{error}\n{len(trainer.spooled())} steps lie in the spool; the trainer said: {said}"
            ) from error

    def settled(self, run_id: str, *, in_order: bool = True, repeated: int = 0) -> None:
        """Everything of a finished run is there exactly once; `repeated` steps were taken again by a resume.

        `in_order`: the rules saw each step once and in order, so they say the same as of a calm run.
        """
        calm, notified = self.calm
        said: list[object] = []

        def complete() -> bool:
            said.clear()
            try:
                run = ledger.readings(self.client, run_id, range(STEPS), repeated)
                found = ledger.transitions(run)
            except (ForeshockError, ledger.Incomplete) as lack:
                said.append(lack)
                return False
            told = ledger.notifications(self.receiver.about(run_id))
            said.extend((found, told))
            if not in_order:
                return len(told) >= 1 and run.state == "finished"
            return run.state == "finished" and len(found) >= len(calm) and len(told) >= len(notified)

        eventually(complete, 90.0, lambda: said)
        self._runs.append((run_id, in_order, repeated))
        self._compare(run_id, in_order, repeated)

    @property
    def calm(self) -> tuple[list[ledger.Transition], set[tuple[str, str, int]]]:
        """The transitions and notifications of a run in which nothing is killed."""
        if self._calm is None:
            trainer = self.trainer("calm")
            trainer.end()
            self._calm = ([], set())
            for rule in ("policy-entropy-collapse", "non-finite-loss"):
                for kind in ("fired", "resolved"):
                    eventually(lambda rule=rule, kind=kind: self._has(rule, kind), 60.0, lambda: self._calm)
            run = self.client.run("calm")
            eventually(lambda: ledger.deliveries_are_done(self.client, "calm"))
            told = ledger.notifications(self.receiver.about("calm"))
            self._calm = (ledger.transitions(run), set(told.values()))
            self._runs.append(("calm", True, 0))
        return self._calm

    def _has(self, rule: str, kind: str) -> bool:
        found = ledger.transitions(self.client.run("calm"))
        self._calm = (found, set())
        return any(one[0] == rule and one[2] == kind for one in found)

    def _compare(self, run_id: str, in_order: bool, repeated: int) -> None:
        run = ledger.readings(self.client, run_id, range(STEPS), repeated)
        found = ledger.transitions(run)
        told = ledger.notifications(self.receiver.about(run_id))
        if in_order:
            calm, notified = self.calm
            assert found == calm, "the rules saw something else than in a calm run"
            assert sorted(told.values()) == sorted(notified), "other messages came than in a calm run"

    def close(self) -> None:
        """Look at every run once more: nothing was added while others were killed."""
        for one in self._runs:
            self._compare(*one)
