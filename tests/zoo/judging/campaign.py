"""Pairs and seeds -> every training of them, in several processes; nothing is kept from one campaign to the next, unless a folder is named."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path

from tests.zoo.judging import kept, pairs
from tests.zoo.judging.service import Service
from tests.zoo.judging.trial import Ran, try_out
from tests.zoo.trainings.pair import Pair, Setting

# Levels, ours and the rivals', are chosen on these, which are also of another size …
TUNING_SEEDS = range(5)
# … and never looked at on these before they are reported.
REPORTED_SEEDS = range(2000, 2010)

_opened = ExitStack()  # of a worker process
_try_out: Callable[[Pair, Setting], Ran] | None = None


@dataclass(frozen=True)
class Tried:
    """All trainings of one pair, or those before the first that failed."""

    pair: str
    ran: list[Ran]
    error: Exception | None = None


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
    keep: Path | None = None,
) -> Iterator[Tried]:
    """Pair by pair, in this order; `done` is told of each training as it ends. A pair of which one fails says so and the next is tried. In
    the folder `keep` trainings stay, and those that are there are only judged: who was cut off begins where that was."""
    with (
        tempfile.TemporaryDirectory(prefix="zoo-", ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _open, (folder, keep)) as pool,
    ):
        tasks = {name: [pool.submit(_run, name, setting) for setting in wanted] for name in names}
        try:
            for name in names:
                yield _tried(name, tasks.pop(name), done)
        finally:  # who leaves early waits only for what has begun
            pool.shutdown(cancel_futures=True)


def _tried(name: str, tasks: Sequence[Future[Ran]], done: Callable[[Ran], None]) -> Tried:
    ran: list[Ran] = []
    try:
        for task in tasks:
            ran.append(task.result())
            done(ran[-1])
    except Exception as error:
        for task in tasks:
            task.cancel()
        return Tried(name, ran, error)
    return Tried(name, ran)


def _open(folder: str, keep: Path | None) -> None:
    """In a worker: one service for all that it trains, closed before the process waits for its threads to end."""
    global _try_out
    if keep is not None:
        _try_out = partial(kept.tried, folder=keep)
        return
    service = _opened.enter_context(Service(Path(tempfile.mkdtemp(dir=folder))))
    _try_out = partial(try_out, service=service)
    Finalize(None, _opened.close, exitpriority=10)


def _run(name: str, setting: Setting) -> Ran:
    if _try_out is None:
        raise RuntimeError("nothing was opened in this process")
    return _try_out(pairs.load(name), setting)
