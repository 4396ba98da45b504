"""Keys of a run's series -> their readings as columns, thinned to what can be drawn, as JSON or as an Arrow stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from foreshock_server.models import Series
from foreshock_server.query.downsample import thin
from foreshock_server.store import blocks
from foreshock_server.store.blocks import Columns
from foreshock_server.store.numbers import written
from foreshock_server.store.runs import get_run
from foreshock_server.store.series import find_all

MOST_ODD = 10_000  # readings that are not finite, listed per series; all of them are counted
ARROW = "application/vnd.apache.arrow.stream"

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
    odd: NDArray[np.int64]  # steps of readings that are not finite, the first MOST_ODD of them
    odd_total: int
    points_total: int  # readings in the range asked for, before thinning
    downsampled: bool


def columns(
    session: Session,
    run_id: str,
    keys: Sequence[str],
    first: int | None = None,
    last: int | None = None,
    points: int = 2000,
) -> tuple[int, list[Drawn]]:
    """The run's revision and its series in the order asked for; points=0 keeps all."""
    revision = get_run(
        session, run_id
    ).revision  # before the data: a viewer may see more than it says, never less
    found = find_all(session, run_id, keys)
    data = blocks.read(session, run_id, [one.series_id for one in found], first, last)
    return revision, [draw(one, data[one.series_id], points) for one in found]


def draw(series: Series, data: Columns, points: int) -> Drawn:
    """All of the data in the order of steps, or about `points` of it and every odd reading up to MOST_ODD."""
    order = np.lexsort(
        (data.steps, data.attempts)
    )  # stable: several writers of one attempt are woven together
    if np.array_equal(order, np.arange(len(order))):
        order = slice(None)  # type: ignore[assignment]  # already in order, as nearly always: views, no copies
    data = Columns(data.steps[order], data.times[order], data.values[order], data.attempts[order])
    odd = np.flatnonzero(~np.isfinite(data.values))
    listed = odd[:MOST_ODD]
    total = len(data)
    if points == 0 or total <= points:
        return Drawn(series, data, data.steps[listed], len(odd), total, downsampled=False)
    keep = np.union1d(thin(data.steps, data.values, data.attempts, points), listed)
    kept = Columns(data.steps[keep], data.times[keep], data.values[keep], data.attempts[keep])
    return Drawn(series, kept, data.steps[listed], len(odd), total, downsampled=len(keep) < total)


def as_json(run_id: str, revision: int, drawn: Sequence[Drawn]) -> dict[str, Any]:
    """The answer as the page reads it."""
    return {"run": run_id, "revision": revision, "series": [_one(one) for one in drawn]}


def _one(drawn: Drawn) -> dict[str, Any]:
    data = drawn.columns
    borders = np.flatnonzero(np.diff(data.attempts)) + 1
    begins = [0, *borders.tolist()] if len(data) else []
    return {
        "key": drawn.series.key,
        "unit": drawn.series.unit,
        "steps": data.steps.tolist(),
        "times": data.times.tolist(),
        "values": _values(data.values),
        "attempts": [{"attempt": int(data.attempts[i]), "from": i} for i in begins],
        "nan": drawn.odd.tolist(),
        "nan_total": drawn.odd_total,
        "points_total": drawn.points_total,
        "downsampled": drawn.downsampled,
    }


def _values(values: NDArray[np.float64]) -> list[float | str]:
    listed: list[float | str] = values.tolist()
    for i in np.flatnonzero(~np.isfinite(values)).tolist():
        listed[i] = written(float(values[i]))
    return listed


def as_arrow(revision: int, drawn: Sequence[Drawn]) -> bytes:
    """The answer as an Arrow IPC stream in long form, one batch per series; NaN is NaN there, not null."""
    schema = SCHEMA.with_metadata({"revision": str(revision)})
    keys = pa.array([one.series.key for one in drawn], pa.string())  # one dictionary for all batches
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for i, one in enumerate(drawn):
            data = one.columns
            key = pa.DictionaryArray.from_arrays(np.full(len(data), i, np.int32), keys)
            stream.write_batch(
                pa.record_batch([key, data.steps, data.times, data.values, data.attempts], schema=schema)
            )
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no types
