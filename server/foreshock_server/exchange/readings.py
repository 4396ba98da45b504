"""A run, or a file of one -> its readings in the one order that both share, a portion at a time; the same readings, the same digest.

Series in the order in which they appeared; of each, windows of steps if it is long; in these, attempts, writers, and the order of
recording. So no more than a few million readings are in memory, whatever a run holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid
from foreshock_server.exchange.layout import SCHEMA, WORDS
from foreshock_server.models import Block, Segment, Series
from foreshock_server.store import blocks
from foreshock_server.store.columns import Columns
from foreshock_server.store.layout import size_of

AT_ONCE = 2_000_000  # values read together
_NUMBERS = ("attempt", "step", "time", "entry", "value")


@dataclass(frozen=True)
class Portion:
    """Some readings of one series by one writer, as they follow one another."""

    series: int  # its place among the series of the run, from 0
    attempt: int
    writer: str
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]  # [n]; of a vector [n, entries]


def of_run(session: Session, run_id: str, series: Sequence[Series]) -> Iterator[Portion]:
    """Of these series (all of the run, in order, counted up to now), sealed and fresh, of superseded attempts too."""
    batch: list[int] = []
    room = AT_ONCE
    for place, row in enumerate(series):
        values = row.points
        if values > AT_ONCE:
            yield from _of_some(session, run_id, series, batch)
            batch, room = [], AT_ONCE
            yield from _of_long(session, run_id, series, place)
            continue
        if values > room:
            yield from _of_some(session, run_id, series, batch)
            batch, room = [], AT_ONCE
        batch.append(place)
        room -= values
    yield from _of_some(session, run_id, series, batch)


def _of_some(
    session: Session,
    run_id: str,
    series: Sequence[Series],
    places: Sequence[int],
    first: int | None = None,
    last: int | None = None,
) -> Iterator[Portion]:
    if not places:
        return
    found = blocks.read(
        session, run_id, [series[place].series_id for place in places], first, last, superseded=True
    )
    for place in places:
        yield from _split(place, found.pop(series[place].series_id))


def _split(place: int, columns: Columns) -> Iterator[Portion]:
    begin = 0
    for attempt, writer, count in columns.parts:
        part = slice(begin, begin + count)
        begin += count
        yield Portion(place, attempt, writer, columns.steps[part], columns.times[part], columns.values[part])


def _of_long(session: Session, run_id: str, series: Sequence[Series], place: int) -> Iterator[Portion]:
    """Of one series with many readings, in windows of steps whose widths follow from the readings alone."""
    row = series[place]
    end = begin = row.first_step or 0
    for model in (Block, Segment):
        latest = session.scalar(select(func.max(model.last_step)).where(model.run_id == run_id))
        end = max(end, latest if latest is not None else end)
    width = max(1, AT_ONCE // (size_of(row.axis) or 1))
    while begin <= end:
        found = 0
        for portion in _of_some(session, run_id, series, [place], begin, min(begin + width - 1, end)):
            found += portion.values.size
            yield portion
        begin += width
        if found > AT_ONCE:
            width = max(1, width // 2)
        elif 2 * found < AT_ONCE:
            width *= 2


def of_file(path: Path, series: Sequence[Mapping[str, Any]]) -> Iterator[Portion]:
    """Of a file whose description names these series; Invalid when it holds what they cannot have."""
    places = {one["key"]: place for place, one in enumerate(series)}
    sizes = [size_of(one["axis"]) for one in series]
    names = ["key", "writer", *_NUMBERS]
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=names).combine_chunks()
            yield from _cut(table, places, sizes, path.name)


def _cut(
    table: pa.Table, places: Mapping[str, int], sizes: Sequence[int | None], name: str
) -> Iterator[Portion]:
    if table.num_rows == 0:
        return
    keys, key_code = _codes(table["key"])
    writers, writer_code = _codes(table["writer"])
    attempts, steps, times = (table[column].to_numpy() for column in ("attempt", "step", "time"))
    values = table["value"].to_numpy()
    same = (np.diff(key_code) == 0) & (np.diff(writer_code) == 0) & (np.diff(attempts) == 0)
    borders = [0, *(np.flatnonzero(~same) + 1).tolist(), table.num_rows]
    for i, j in pairwise(borders):
        key = keys[key_code[i]]
        if key not in places:
            raise Invalid(f"{name} holds readings of {key!r}, which its description does not name.")
        size = sizes[places[key]]
        width = size or 1
        if (j - i) % width:
            raise Invalid(f"{name} holds half a vector of {key!r}: {j - i} values with {width} entries each.")
        shown = values[i:j] if size is None else values[i:j].reshape(-1, width)
        yield Portion(
            places[key], int(attempts[i]), writers[writer_code[i]], steps[i:j:width], times[i:j:width], shown
        )


def _codes(column: pa.ChunkedArray) -> tuple[list[str], NDArray[Any]]:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of one chunk, in some releases of pyarrow
        whole = whole.chunk(0)
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    return whole.dictionary.to_pylist(), whole.indices.to_numpy()


def as_batch(run_id: str, portion: Portion, one: Mapping[str, Any]) -> pa.RecordBatch:
    """The portion as rows of the file; `one` is its series as the description says it."""
    vector = portion.values.ndim == 2
    width = portion.values.shape[1] if vector else 1
    rows = len(portion.steps) * width
    words = {
        **{name: one[name] for name in ("key", "statistic", "family", "place", "unit", "dtype")},
        "run": run_id,
        "labels": json.dumps(one["labels"], ensure_ascii=False, sort_keys=True),
        "writer": portion.writer,
    }
    zeros = np.zeros(rows, np.int32)
    entries = np.tile(np.arange(width, dtype=np.int32), len(portion.steps))
    columns: dict[str, Any] = {
        name: pa.DictionaryArray.from_arrays(zeros, pa.array([words[name]], pa.string())) for name in WORDS
    }
    columns |= {
        "attempt": np.full(rows, portion.attempt, np.int32),
        "step": np.repeat(portion.steps, width),
        "time": np.repeat(portion.times, width),
        "entry": entries if vector else pa.nulls(rows, pa.int32()),
        "value": np.ascontiguousarray(portion.values, np.float64).reshape(-1),
    }
    return pa.record_batch([columns[field.name] for field in SCHEMA], schema=SCHEMA)


def digest(portions: Iterable[Portion]) -> str:
    """Of all readings, bit for bit, however they are cut into portions."""
    steps, times, values, borders = (hashlib.sha256() for _ in range(4))
    known: tuple[Any, ...] = ()
    count = 0
    for one in portions:
        about = (one.series, one.attempt, one.writer)
        if len(one.steps) and about != known:
            borders.update(json.dumps([count, *about]).encode())
            known = about
        count += len(one.steps)
        steps.update(np.ascontiguousarray(one.steps, "<i8").tobytes())
        times.update(np.ascontiguousarray(one.times, "<f8").tobytes())
        values.update(np.ascontiguousarray(one.values, "<f8").tobytes())
    return hashlib.sha256(b"".join(part.digest() for part in (steps, times, values, borders))).hexdigest()
