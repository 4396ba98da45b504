"""What the rules cost the server: processor time of evaluating one step of one run, storing what came of it included.

`python -m tests.bench.evaluating RUNS STEPS [SETTLED]`: of so many typical runs alone, what a hundred and two hundred of them would take; stored after
so many steps each, without a number when the evaluator wants to, whose clock goes on by a second a step.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from tests.bench.report import OURS, Measure
from tests.bench.typical import noisy, typical

from foreshock_server import migrate
from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.rules.evaluator import SETTLE_SECONDS, Evaluator
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings
from foreshock_server.store.blocks import append
from foreshock_server.store.rows import DTYPES, RowGroup
from foreshock_server.store.runs import ensure_writer, lock_run, open_run
from foreshock_server.store.series import NewFrame, NewSeries, register_frames

LAYERS = 24
LOGGED = 500
TYPICAL_RUNS, TYPICAL_SERIES = 100, 500  # one step a second each: what one worker serves
BEGAN = 1.7e9  # of the clock, which goes on by a second a step: what arrived long ago is missed
SETTLED = 5  # steps between two times of storing, where it is not the evaluator that decides


def run(folder: Path, quick: bool) -> list[Measure]:
    """Some runs at once, as one look of the evaluator serves them all; healthy values, as most steps of most runs are."""
    runs, steps = (4, 10) if quick else (50, 60)
    folder.mkdir(parents=True)
    measures = []
    for name, dtype, series in (("statistics of the SDK", "f32", _watched()), ("logged", "f64", _logged())):
        measure = Measure(f"evaluate one step of {len(series)} series, {name}: processor time", "ms", "lower")
        database = Database(f"sqlite:///{folder / dtype}.db")
        migrate.to_head(database)
        measure.add(OURS, _cost(database, NewFrame(1, dtype, series), runs, steps))
        database.close()
        measures.append(measure)
    return [*measures, _typical(folder, quick)]


def _typical(folder: Path, quick: bool) -> Measure:
    """As the share of a core that they take at a step a second."""
    runs, steps = (4, 10) if quick else (TYPICAL_RUNS, 240)
    share = Measure(
        f"evaluate {runs} runs of {TYPICAL_SERIES} typical series at a step a second, all packs: share of one core",
        "%",
        "lower",
    )
    spent = _of_typical(folder, runs, steps, None)
    share.add(OURS, fmean(spent) * runs / 10)  # ms per run and step -> % of a second
    return share


def _of_typical(folder: Path, runs: int, steps: int, settled: int | None) -> list[float]:
    """Of the series of a 12-layer transformer, once most windows of the rules are full: as `_cost` says."""
    told = typical(folder / "typical", TYPICAL_SERIES)
    names = [field.name for field in fields(NewSeries)]
    series = [NewSeries(**{name: one[name] for name in names if name in one}) for one in told.series]
    database = Database(f"sqlite:///{folder / 'typical.db'}")
    migrate.to_head(database)
    values = noisy(told.levels, np.random.default_rng(0), steps)
    spent = _cost(database, NewFrame(1, "f32", series), runs, steps, values, settled)
    database.close()
    return spent[len(spent) // 2 :]


def _cost(
    database: Database,
    frame: NewFrame,
    runs: int,
    steps: int,
    values: NDArray[np.floating] | None = None,
    settled: int | None = SETTLED,
) -> list[float]:
    """Milliseconds per run and step, one number per `settled` steps, after which is stored, or per step; the first of a run, which read its series, is left out."""
    settings = Settings(database_url=database.url, rules_dir=None)
    now = BEGAN
    evaluator = Evaluator(
        database,
        RuleSet.load(settings),
        LocalBus(),
        settings,
        settle=math.inf if settled else SETTLE_SECONDS,
        clock=lambda: now,
        passing=lambda: now,
    )
    values = _values(frame, steps) if values is None else values
    names = [f"run-{number}" for number in range(runs)]
    for name in names:
        with database.writing() as session:
            open_run(
                session,
                name,
                project="bench",
                name=name,
                config={},
                attempt=1,
                writer="r0-bench",
                info={},
                started_at=now,
                now=now,
            )
            register_frames(session, name, 1, "r0-bench", [frame])
    spent = []
    for step in range(steps):
        now += 1.0
        for name in names:
            with database.writing() as session:
                lock_run(session, name)
                writer = ensure_writer(session, name, 1, "r0-bench", now=now)
                at = np.array([step])
                append(session, writer, step + 1, [RowGroup(1, at, np.array([now]), values[at], None)], now)
        began = time.process_time()
        while evaluator.run_once():
            pass
        if settled and step % settled == settled - 1:
            evaluator.settle()
        spent.append((time.process_time() - began) * 1e3 / runs)
    together = np.reshape(spent[: steps - steps % (settled or 1)], (-1, settled or 1)).mean(1)
    return [float(one) for one in together[1:]]


def _values(frame: NewFrame, steps: int) -> NDArray[np.floating]:
    """Steady, with a little noise; what counts or must be low is zero."""
    drawn = 1.0 + 0.02 * np.random.default_rng(0).standard_normal((steps, len(frame.series)))
    low = [
        one.statistic in {"nonfinite_count", "mean_cosine", "zero_variance_groups"} for one in frame.series
    ]
    drawn[:, low] = 0.0
    return drawn.astype(DTYPES[frame.dtype])


def _watched() -> list[NewSeries]:
    """What a transformer of so many layers that is trained with GRPO brings by default, in kind and number."""
    series = [
        _series(name, "policy entropy") for name in ("policy_entropy", "policy_kl", "zero_variance_groups")
    ]
    for layer in range(LAYERS):
        place = f"model.layers.{layer}"
        series += [
            _series("effective_rank", "representation", place=place, centered="true"),
            _series("stable_rank", "representation", place=place),
            _series("mean_cosine", "representation", place=f"features.{place}"),
            _series("attention_entropy", "attention", place=place),
        ]
        for tensor in ("weight", "gradient", "activation"):
            series += [
                _series("nonfinite_count", "numerics", place=place, tensor=tensor),
                _series("norm", "numerics", place=place, tensor=tensor),
            ]
    return series


def _logged() -> list[NewSeries]:
    return [_series(f"metric_{number}", "training", "f64") for number in range(LOGGED)]


def _series(statistic: str, family: str, dtype: str = "f32", **labels: str) -> NewSeries:
    inner = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    key = f"{statistic}{{{inner}}}" if inner else statistic
    return NewSeries(key, statistic, family, labels.get("place", ""), labels, "", dtype)


def _main(runs: int, steps: int, settled: int | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spent = fmean(_of_typical(Path(folder), runs, steps, settled))
    print(
        f"{spent:.2f} ms a run and step: 100 runs {spent * 10:.0f} % of a core, 200 runs {spent * 20:.0f} %"
    )


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:4]))
