"""Reading what rests: a long chart, many short ones, a heatmap of a whole model, and what a reading takes on the disk once sealed.

Runs are stored as blocks and sealed by the stage that a server has; the longest, which would take hours that way, is put together
from the same segments and rollups. Times are the server's: from the question to the bytes of the answer, without HTTP.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import select
from tests.bench.report import OURS, Measure

from foreshock_server import migrate
from foreshock_server.db import Database
from foreshock_server.models import Frame, Series, Writer
from foreshock_server.query import columns as query
from foreshock_server.query.heatmap import get_heatmap
from foreshock_server.sealing import ready as readiness
from foreshock_server.sealing.cutting import Place, clock_row, cut, rollups, segment_rows, slabs
from foreshock_server.sealing.sealer import Sealer, give_back
from foreshock_server.sealing.tallier import Tallier
from foreshock_server.store.blocks import StoredBlock, append
from foreshock_server.store.rollups import Buckets, chunk_of, encode, together
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_writer, finish_attempt, lock_run, open_run
from foreshock_server.store.sealed import RollupRow, insert
from foreshock_server.store.series import NewFrame, NewSeries, register_frames

AT_ONCE = 65_536  # steps of a block, and of a segment


def run(folder: Path, quick: bool) -> list[Measure]:
    """One fresh SQLite file per question."""
    scale = 100 if quick else 1
    return [
        *_at_rest(folder, 200_000 // scale),
        *_charts(folder, quick),
        _many(folder, 500 // scale + 5),
        _heatmap(folder, 5_000 // scale, 100_000 // scale),
    ]


def _at_rest(folder: Path, steps: int) -> list[Measure]:
    measures = []
    for dtype in ("f4", "f8"):
        place = folder / f"rest-{dtype}.db"
        database = database_at(place)
        empty = _size(place)
        measure = Measure(
            f"at rest, sealed, 50 series of {steps} noisy steps, {dtype}", "bytes/point", "lower"
        )
        speed = Measure(f"sealing 50 series of {steps} noisy steps, {dtype}", "points/s", "higher")
        _fill(database, "r", _noise(steps, 50, dtype), 2048)
        began = time.process_time()
        seal(database)
        speed.add(OURS, steps * 50 / (time.process_time() - began))
        measure.add(OURS, (_size(place) - empty) / (steps * 50))
        measures += [measure, speed]
    return measures


def _charts(folder: Path, quick: bool) -> list[Measure]:
    measures = []
    for steps in (10**5, 10**6) if quick else (10**5, 10**6, 10**7, 10**8):
        database = database_at(folder / f"chart-{steps}.db")
        _rest(database, "r", steps)
        measure = Measure(f"one series of {steps:,} points to a chart of 2,000", "ms", "lower")
        measure.add(OURS, _timed(database, _chart, 3 if quick else 30))
        measures.append(measure)
    return measures


def _many(folder: Path, series: int) -> Measure:
    database = database_at(folder / "many.db")
    _fill(database, "r", _noise(2_000, series, "f4"), 500)
    seal(database)
    keys = [_key(i) for i in range(series)]
    measure = Measure(f"{series} series x 2,000 points", "ms", "lower")
    measure.add(OURS, _timed(database, lambda at: _answer(at, keys), 5))
    return measure


def _heatmap(folder: Path, series: int, steps: int) -> Measure:
    database = database_at(folder / "heatmap.db")
    for start in range(0, series, 500):  # a frame each, as a writer with many series has them
        _fill(
            database,
            "r",
            _noise(steps, min(500, series - start), "f4"),
            4096,
            start=start,
            writer=f"w{start}",
        )
        seal(database)
    measure = Measure(f"heatmap of {series} series x {steps} steps", "ms", "lower")
    measure.add(OURS, _timed(database, _heat, 5))
    return measure


def _chart(database: Database) -> None:
    _answer(database, [_key(0)])


def _answer(database: Database, keys: list[str]) -> None:
    with database.reading() as session:
        revision, drawn = query.columns(session, "r", keys, points=2000)
        assert len(json.dumps(query.as_json("r", revision, drawn))) > 1000 * len(keys)


def _heat(database: Database) -> None:
    with database.reading() as session:
        answer = get_heatmap(session, "r", "number", columns=200)
        assert len(json.dumps(answer)) > 1000


def _timed(database: Database, ask: Callable[[Database], None], times: int) -> list[float]:
    """Milliseconds of each; the first warms up."""
    found = []
    for _ in range(times + 1):
        began = time.perf_counter()
        ask(database)
        found.append((time.perf_counter() - began) * 1e3)
    return found[1:]


def database_at(path: Path) -> Database:
    """A new one, with its tables."""
    database = Database(f"sqlite:///{path}")
    migrate.to_head(database)
    return database


def _noise(steps: int, series: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((steps, series)).astype(dtype)


def _key(i: int) -> str:
    return f"number{{place=layer.{i}}}"


def _frame(start: int, series: int, dtype: str) -> NewFrame:
    places = [f"layer.{i}" for i in range(start, start + series)]
    named = [
        NewSeries(_key(start + i), "number", "training", place, {"place": place}, "", dtype)
        for i, place in enumerate(places)
    ]
    return NewFrame(1, dtype, named)


def _open(database: Database, run_id: str, frame: NewFrame, writer: str) -> None:
    with database.writing() as session:
        told = {"project": "p", "name": "", "config": {}, "info": {}, "started_at": 0.0, "now": 0.0}
        open_run(session, run_id, attempt=1, writer=writer, **told)
        register_frames(session, run_id, 1, writer, [frame])


def _fill(
    database: Database,
    run_id: str,
    table: np.ndarray,
    rows: int,
    *,
    start: int = 0,
    writer: str = "w",
) -> None:
    """Blocks of so many rows, as ingest leaves them."""
    dtype = "f32" if table.itemsize == 4 else "f64"
    _open(database, run_id, _frame(start, table.shape[1], dtype), writer)
    steps = np.arange(len(table), dtype=np.int64)
    times = 1.7e9 + 0.1 * steps + np.random.default_rng(1).uniform(0, 0.01, len(steps))
    for seq, at in enumerate(range(0, len(table), rows), 1):
        part = slice(at, at + rows)
        with database.writing() as session:
            lock_run(session, run_id)
            row = ensure_writer(session, run_id, 1, writer, now=0.0)
            append(session, row, seq, [RowGroup(1, steps[part], times[part], table[part], None)], 0.0)


def seal(database: Database, run_id: str = "r") -> None:
    """All of it, as a server's stages do when the rules have passed."""
    tallier, sealer = Tallier(database, clock=lambda: 0.0), Sealer(database)
    with database.writing() as session:
        finish_attempt(session, run_id, 1, state="finished", at=0.0, last_seq={}, now=0.0)
        for row in session.scalars(select(Writer)):
            row.evaluated_seq = row.acked_seq
    while tallier.run_once():
        pass
    while True:
        with database.reading() as session:
            waiting = readiness.ready(session, now=1e12)
        if not waiting:
            break
        for one in waiting:
            sealer.seal(one)
    while give_back(database):
        pass
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()


def _rest(database: Database, run_id: str, steps: int) -> None:
    """One series of so many steps, put together from the parts that sealing puts together."""
    _open(database, run_id, _frame(0, 1, "f32"), "w")
    place = Place(run_id, 1, "w")
    with database.reading() as session:
        frame = session.get_one(Frame, (run_id, 1, "w", 1))
    pending: dict[tuple[int, int], Buckets] = {}
    generator = np.random.default_rng(0)
    for seq, at in enumerate(range(0, steps, AT_ONCE), 1):
        count = min(AT_ONCE, steps - at)
        values = generator.standard_normal((count, 1)).astype(np.float32)
        group = RowGroup(1, np.arange(at, at + count), 1.7e9 + 0.1 * np.arange(at, at + count), values, None)
        (piece,) = cut([StoredBlock(seq, 0.0, [group])], {1: frame})
        with database.writing() as session:
            insert(session, [clock_row(place, piece)])
            insert(session, list(segment_rows(place, piece)))
            full = []
            for some in slabs(piece):
                for level, buckets in rollups(piece, some).items():
                    chunks = chunk_of(buckets.ids)
                    for chunk in np.unique(chunks).tolist():
                        news = buckets.of(chunks == chunk)
                        known = pending.get((level, chunk))
                        pending[level, chunk] = news if known is None else together([known, news])
            last = {level: max(chunk for of, chunk in pending if of == level) for level, _ in pending}
            for level, chunk in sorted(pending):
                if chunk < last[level] or at + count == steps:
                    one = pending.pop((level, chunk))
                    full.append(RollupRow(run_id, 1, 1, level, chunk, encode(one, level, [4])[0]))
            insert(session, full)
    with database.writing() as session:
        row = session.get_one(Series, (run_id, 1))
        row.points, row.first_step, row.last_attempt, row.last_step = steps, 0, 1, steps - 1


def _size(path: Path) -> int:
    """The file and what stands beside it."""
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))
