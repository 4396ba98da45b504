"""Keys of a run's series -> their readings as columns, thinned to what can be drawn, as JSON or as an Arrow stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid
from foreshock_server.models import Series
from foreshock_server.query import vectors
from foreshock_server.query.downsample import thin
from foreshock_server.store.columns import Columns
from foreshock_server.store.layout import size_of
from foreshock_server.store.numbers import steps_text, written
from foreshock_server.store.overview import MOST_ODD, Overview, shown, too_many
from foreshock_server.store.runs import get_run
from foreshock_server.store.series import find_all

ARROW = "application/vnd.apache.arrow.stream"
MOST_READ = 20_000_000  # numbers that are read for one answer, some sixty bytes each
MOST_WRITTEN = 4_000_000  # of an answer in JSON, some two hundred bytes each

SCHEMA = pa.schema(
    [
        ("key", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int64()),
        ("time", pa.float64()),
        ("value", pa.float64()),
        ("attempt", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Drawn:
    """The readings of one series that an answer carries, by (attempt, step)."""

    series: Series
    columns: Columns
    odd: NDArray[
        np.int64
    ]  # steps of readings that are not finite (any entry of a vector), the first MOST_ODD of them
    odd_total: int
    points_total: int  # readings in the range asked for, before thinning
    downsampled: bool
    exact: bool  # False: extremes of a long range, their times estimated
    axis: Mapping[str, Any] | None = None  # of a vector, the entries that the answer carries


def columns(
    session: Session,
    run_id: str,
    keys: Sequence[str],
    first: int | None = None,
    last: int | None = None,
    points: int = 2000,
    entries: Sequence[str] = (),
    *,
    superseded: bool = False,
) -> tuple[int, list[Drawn]]:
    """The run's revision and its series in the order asked for; points=0 keeps all, `entries` name some of a vector's.

    What a later attempt read anew is left out unless `superseded`.
    """
    revision = get_run(
        session, run_id
    ).revision  # before the data: a viewer may see more than it says, never less
    found = find_all(session, run_id, keys)
    data = shown(session, run_id, found, points, first, last, superseded=superseded, most=MOST_READ)
    chosen = [vectors.chosen(one.key, one.axis, entries) for one in found]
    if entries and not any(chosen):
        raise Invalid("None of these series is a vector; leave `entry` out.", field="entry")
    drawn = [draw(one, data[one.series_id], points, some) for one, some in zip(found, chosen, strict=True)]
    _must_fit(drawn, MOST_READ)  # a key may be asked for twice
    return revision, drawn


def _must_fit(drawn: Sequence[Drawn], most: int) -> None:
    if (numbers := sum(one.columns.values.size for one in drawn)) > most:
        raise too_many(numbers, most)


def draw(series: Series, found: Overview, points: int, entries: vectors.Entries | None = None) -> Drawn:
    """All of the data in the order of steps, or about `points` of it and every odd reading up to MOST_ODD.

    A vector is thinned as the mean of its entries goes, and keeps at most `points` of its odd readings.
    """
    data, axis = vectors.part(found.columns, entries), None if entries is None else entries.axis
    order = np.lexsort(
        (data.steps, data.attempts)
    )  # stable: several writers of one attempt are woven together
    if np.array_equal(order, np.arange(len(order))):
        order = slice(None)  # type: ignore[assignment]  # already in order, as nearly always: views, no copies
    data = Columns(data.steps[order], data.times[order], data.values[order], data.attempts[order])
    odd = np.flatnonzero(vectors.odd(data.values))
    listed = odd[:MOST_ODD]
    wrong = len(odd) if found.exact else found.nonfinite  # of a vector: among the entries asked for
    if points == 0 or len(data) <= points:
        return Drawn(
            series, data, data.steps[listed], wrong, found.points, not found.exact, found.exact, axis
        )
    course = vectors.course(data.values)
    shown = listed if axis is None else listed[:points]
    keep = np.union1d(thin(data.steps, course, data.attempts, points), shown)
    kept = Columns(data.steps[keep], data.times[keep], data.values[keep], data.attempts[keep])
    fewer = len(keep) < found.points
    return Drawn(series, kept, data.steps[listed], wrong, found.points, fewer, found.exact, axis)


def as_json(run_id: str, revision: int, drawn: Sequence[Drawn]) -> dict[str, Any]:
    """The answer as the page reads it; Invalid when it is too long for JSON."""
    _must_fit(drawn, MOST_WRITTEN)
    return {"run": run_id, "revision": revision, "series": [_one(one) for one in drawn]}


def _one(drawn: Drawn) -> dict[str, Any]:
    data = drawn.columns
    borders = np.flatnonzero(np.diff(data.attempts)) + 1
    begins = [0, *borders.tolist()] if len(data) else []
    return {
        "key": drawn.series.key,
        "unit": drawn.series.unit,
        "axis": drawn.axis,
        "steps": steps_text(data.steps),
        "times": data.times.tolist(),
        "values": _values(data.values),
        "attempts": [{"attempt": int(data.attempts[i]), "from": i} for i in begins],
        "nan": steps_text(drawn.odd),
        "nan_total": drawn.odd_total,
        "points_total": drawn.points_total,
        "downsampled": drawn.downsampled,
        "exact": drawn.exact,
    }


def _values(values: NDArray[np.float64]) -> list[Any]:
    """As JSON says them; of a vector a list per reading."""
    listed: list[Any] = values.tolist()
    for place in np.argwhere(~np.isfinite(values)).tolist():
        row: list[Any] = listed[place[0]] if len(place) > 1 else listed
        row[place[-1]] = written(row[place[-1]])
    return listed


def as_arrow(revision: int, drawn: Sequence[Drawn]) -> bytes:
    """The answer as an Arrow IPC stream in long form, one batch per series; NaN is NaN there, not null.

    The values of vectors are fixed-size lists, so the series of one stream need one size.
    """
    sizes = {size_of(one.axis) for one in drawn}
    if len(sizes) > 1:
        raise Invalid(
            "Arrow carries numbers, or vectors of one size; ask for these series in several requests.",
            field="key",
        )
    size = sizes.pop()
    schema = SCHEMA
    if size is not None:
        schema = schema.set(3, pa.field("value", pa.list_(pa.float64(), size)))
    schema = schema.with_metadata({"revision": str(revision)})
    keys = pa.array([one.series.key for one in drawn], pa.string())  # one dictionary for all batches
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for i, one in enumerate(drawn):
            data = one.columns
            key = pa.DictionaryArray.from_arrays(np.full(len(data), i, np.int32), keys)
            values: Any = data.values
            if size is not None:
                values = pa.FixedSizeListArray.from_arrays(values.reshape(-1), size)
            stream.write_batch(
                pa.record_batch([key, data.steps, data.times, values, data.attempts], schema=schema)
            )
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no types
