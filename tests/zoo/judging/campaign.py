"""Pairs and seeds -> every training of them, in several processes; nothing is kept from one campaign to the next, unless a folder is named."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
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
) -> list[Ran]:
    """All of them, in this order; `done` is told of each as it ends. What fails in one training is raised here. In the folder `keep`
    trainings stay, and those that are there are only judged."""
    with (
        tempfile.TemporaryDirectory(prefix="zoo-", ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _open, (folder, keep)) as pool,
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
