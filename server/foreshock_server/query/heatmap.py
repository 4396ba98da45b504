"""One statistic of a run over all its places -> a matrix of means, places by steps, as one typed array."""

from __future__ import annotations

import base64
import fnmatch
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.deps import Reading
from foreshock_server.errors import Invalid, UnknownSeries
from foreshock_server.models import Series
from foreshock_server.store import heatmap
from foreshock_server.store.numbers import steps_text
from foreshock_server.store.runs import get_run

router = APIRouter(tags=["query"])

Step = Annotated[int | None, Query(ge=-(2**63), le=2**63 - 1)]
MOST_ROWS = 20_000  # rows of one answer
MOST_CELLS = 4_000_000  # of one answer: beyond, the columns become wider


@router.get("/runs/{run}/heatmap")
def get_heatmap(
    session: Reading,
    run: str,
    statistic: Annotated[str, Query(max_length=200, description="its name")],
    places: Annotated[str, Query(max_length=200, description="which places; * and ? stand for others")] = "*",
    first: Step = None,
    last: Step = None,
    columns: Annotated[int, Query(ge=1, le=4000, description="cells of a row, at most")] = 200,
    superseded: Annotated[bool, Query(description="also what a later attempt recorded anew")] = False,
) -> dict[str, Any]:
    """Means of one statistic, a row per place and a column per stretch of steps.

    `values` is a typed array as Plotly reads it: base64 of little-endian float32, row by row; NaN: no finite reading.
    Column j covers `edges[j] <= step < edges[j + 1]`.
    """
    if first is not None and last is not None and first > last:
        raise Invalid(f"first={first} lies after last={last}; exchange them.", field="first")
    revision = get_run(session, run).revision
    rows = chosen(session, run, statistic, places)
    found = heatmap.heatmap(
        session,
        run,
        [number for number, _, _ in rows],
        min(columns, MOST_CELLS // len(rows)),
        first,
        last,
        superseded=superseded,
    )
    with np.errstate(over="ignore"):
        means = np.empty((len(rows), 0), "<f4") if found is None else found.means.astype("<f4")
    return {
        "run": run,
        "revision": revision,
        "statistic": statistic,
        "series": [key for _, key, _ in rows],
        "places": [place for _, _, place in rows],
        "edges": [] if found is None else steps_text(found.edges),
        "values": {
            "dtype": "f4",
            "shape": f"{means.shape[0]}, {means.shape[1]}",
            "bdata": base64.b64encode(means.tobytes()).decode(),
        },
    }


def chosen(session: Session, run_id: str, statistic: str, places: str) -> Sequence[tuple[int, str, str]]:
    """(id, key, place) of its series of numbers in the order in which they appeared; UnknownSeries when there is none."""
    query = select(Series.series_id, Series.key, Series.place, Series.axis).where(
        Series.run_id == run_id, Series.statistic == statistic
    )
    found = [
        (number, key, place)
        for number, key, place, axis in session.execute(query.order_by(Series.series_id))
        if axis is None and fnmatch.fnmatchcase(place, places)
    ]
    if not found:
        raise UnknownSeries(
            f"This run has no numbers {statistic!r} at places like {places!r}; "
            f"GET /api/v1/runs/{run_id}/series lists what it has."
        )
    if len(found) > MOST_ROWS:
        raise Invalid(
            f"{len(found):,} series are more than the {MOST_ROWS:,} of one answer; narrow `places`.",
            field="places",
        )
    return found
