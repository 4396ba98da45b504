"""A run -> one Parquet file: streamed, never whole in memory, and there under its name only when it is whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from foreshock_server.db import Database
from foreshock_server.exchange.layout import SCHEMA, WORDS, with_about
from foreshock_server.exchange.readings import as_batch, of_run
from foreshock_server.exchange.records import describe
from foreshock_server.store.latest import list_series
from foreshock_server.store.runs import get_run

GROUP_ROWS = 1_000_000  # of one row group, about


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    rows: int
    series: int
    size: int  # bytes


def export_run(database: Database, run_id: str, path: Path) -> Exported:
    """The file at `path`, of one moment of the run; UnknownRun when there is none. What was there is replaced at the end."""
    with database.reading() as session:
        run = get_run(session, run_id)
        about = describe(session, run, time.time(), _release())
        series = list_series(session, run_id)
        rows = 0
        with _whole(path) as unfinished, _writer(unfinished, with_about(about)) as file:
            waiting: list[pa.RecordBatch] = []
            held = 0
            for portion in of_run(session, run_id, series):
                batch = as_batch(run_id, portion, about["series"][portion.series])
                waiting.append(batch)
                held += len(batch)
                if held >= GROUP_ROWS:
                    rows += _flush(file, waiting)
                    held = 0
            rows += _flush(file, waiting)
    return Exported(path, rows, len(series), path.stat().st_size)


def _flush(file: pq.ParquetWriter, waiting: list[pa.RecordBatch]) -> int:
    """Rows written as one group; a group never ends inside a vector, since no portion does."""
    if not waiting:
        return 0
    table = pa.Table.from_batches(waiting, schema=SCHEMA).unify_dictionaries()
    waiting.clear()
    file.write_table(table, row_group_size=max(1, table.num_rows))
    return int(table.num_rows)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=list(WORDS),
        column_encoding={
            "step": "DELTA_BINARY_PACKED",
            "time": "BYTE_STREAM_SPLIT",
            "value": "BYTE_STREAM_SPLIT",
        },
    )


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file to write to, which takes the name at the end; after an error or a kill nothing has that name."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.chmod(0o644)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _release() -> str:
    try:
        return version("foreshock")
    except PackageNotFoundError:  # run from a checkout
        return "0"
