"""Pairs and seeds -> every training of them, in several processes; nothing is kept from one campaign to the next."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing.util import Finalize
from pathlib import Path

from tests.zoo.judging import pairs
from tests.zoo.judging.service import Service
from tests.zoo.judging.trial import Ran, try_out
from tests.zoo.trainings.pair import Setting

# Levels, ours and the rivals', are chosen on these, which are also of another size …
TUNING_SEEDS = range(5)
# … and never looked at on these before they are reported.
REPORTED_SEEDS = range(1000, 1010)

_opened = ExitStack()  # of a worker process
_service: Service | None = None


def settings(tuning: Sequence[int] = TUNING_SEEDS, reported: Sequence[int] = REPORTED_SEEDS) -> list[Setting]:
    """Of one pair, both twins of each seed."""
    return [
        *(Setting(seed, collapses, "tuning") for seed in tuning for collapses in (True, False)),
        *(Setting(seed, collapses, "reported") for seed in reported for collapses in (True, False)),
    ]


def campaign(
    names: Sequence[str],
    wanted: Sequence[Setting],
    processes: int,
    done: Callable[[Ran], None] = lambda _: None,
) -> list[Ran]:
    """All of them, in this order; `done` is told of each as it ends. What fails in one training is raised here."""
    with (
        tempfile.TemporaryDirectory(prefix="zoo-", ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _open, (folder,)) as pool,
    ):
        tasks = [pool.submit(_run, name, setting) for name in names for setting in wanted]
        try:
            return list(_each((task.result() for task in tasks), done))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _each(ran: Iterator[Ran], done: Callable[[Ran], None]) -> Iterator[Ran]:
    for one in ran:
        done(one)
        yield one


def _open(folder: str) -> None:
    """In a worker: one service for all that it trains, closed before the process waits for its threads to end."""
    global _service
    _service = _opened.enter_context(Service(Path(tempfile.mkdtemp(dir=folder))))
    Finalize(None, _opened.close, exitpriority=10)


def _run(name: str, setting: Setting) -> Ran:
    if _service is None:
        raise RuntimeError("no service was opened in this process")
    return try_out(pairs.load(name), setting, _service)
