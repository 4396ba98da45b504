"""Questions about runs -> JSON or Arrow. Each answer is one moment of the database."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from foreshock_server.deps import Asking, Reading
from foreshock_server.errors import Invalid
from foreshock_server.query import columns
from foreshock_server.query.asking import RunsPage, RunsQuery, read_cursor, write_cursor
from foreshock_server.query.runs import as_json, details, projects, series_json, statistics
from foreshock_server.store.latest import list_series
from foreshock_server.store.listing import counted, listed
from foreshock_server.store.runs import get_run, list_writers

router = APIRouter(tags=["query"])

Step = Annotated[int | None, Query(ge=-(2**63), le=2**63 - 1)]


@router.get("/projects")
def get_projects(session: Reading, access: Asking) -> dict[str, Any]:
    """Every project with the number of its runs."""
    return {"projects": projects(session, access.project)}


@router.get("/runs", response_model=RunsPage)
def get_runs(
    request: Request, session: Reading, access: Asking, wanted: Annotated[RunsQuery, Query()]
) -> Response:
    """Runs that fit, the latest first unless `sort` says otherwise. `next` is the value of `before` for the page that follows; null
    on the last one. The first page says how many there are in all."""
    now, settings = time.time(), request.app.state.settings
    wish, quiet_since = wanted.wish(access.within(wanted.project)), now - settings.silent_after
    found = listed(
        session,
        wish,
        wanted.order,
        down=wanted.down,
        limit=wanted.limit + 1,
        behind=None if wanted.before is None else read_cursor(wanted.before, wanted.order),
        quiet_since=quiet_since,
    )
    page = found[: wanted.limit]
    answer = {
        "runs": as_json(session, [run for run, _ in page], request.app.state.leads, settings, now),
        "next": write_cursor(page[-1][1]) if len(found) > wanted.limit else None,
        "total": counted(session, wish, quiet_since=quiet_since) if wanted.before is None else None,
    }
    return JSONResponse(
        answer
    )  # as it is: the model is for the document, and to check a page by it takes as long as to read it


@router.get("/runs/{run}")
def get_one_run(request: Request, session: Reading, run: str) -> dict[str, Any]:
    """One run with its configuration and attempts."""
    row = get_run(session, run)
    state = request.app.state
    listed = as_json(session, [row], state.leads, state.settings, time.time())[0]
    return {**listed, **details(session, row, list_writers(session, run))}


@router.get("/runs/{run}/series")
def get_series(session: Reading, run: str) -> dict[str, Any]:
    """Every series of the run, in the order in which they appeared."""
    get_run(session, run)
    return {"series": [series_json(one) for one in list_series(session, run)]}


@router.get(
    "/runs/{run}/data",
    responses={
        200: {"content": {columns.ARROW: {}}, "description": "Columns; Arrow in long form if accepted."}
    },
)
def get_data(
    session: Reading,
    run: str,
    key: Annotated[list[str], Query(min_length=1, max_length=1000, description="once per series")],
    first: Step = None,
    last: Step = None,
    points: Annotated[int, Query(ge=0, le=1_000_000, description="about so many per series; 0: all")] = 2000,
    entry: Annotated[
        list[str] | None,
        Query(max_length=4096, description="of vectors only these entries, by tick or number from 0"),
    ] = None,
    superseded: Annotated[bool, Query(description="also what a later attempt recorded anew")] = False,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Readings of one or more series, thinned so that no extreme and no NaN is lost."""
    if first is not None and last is not None and first > last:
        raise Invalid(f"first={first} lies after last={last}; exchange them.", field="first")
    revision, drawn = columns.columns(
        session, run, key, first, last, points, entry or (), superseded=superseded
    )
    if columns.ARROW in accept:
        return Response(
            columns.as_arrow(revision, drawn), media_type=columns.ARROW, headers={"Vary": "Accept"}
        )
    return JSONResponse(columns.as_json(run, revision, drawn), headers={"Vary": "Accept"})


@router.get("/statistics")
def get_statistics(session: Reading, access: Asking) -> dict[str, Any]:
    """Every statistic that was ever recorded here, with its unit, range and source."""
    return {"statistics": statistics(session, access.project)}
