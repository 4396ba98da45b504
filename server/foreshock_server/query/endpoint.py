"""Questions about runs -> JSON or Arrow. Each answer is one moment of the database."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from foreshock_server.deps import Asking, Reading
from foreshock_server.errors import Invalid
from foreshock_server.query import columns
from foreshock_server.query.runs import (
    SILENT,
    as_json,
    details,
    projects,
    series_json,
    statistics,
)
from foreshock_server.store.latest import list_series
from foreshock_server.store.runs import RUNNING, get_run, list_runs, list_writers

router = APIRouter(tags=["query"])

_CURSOR = r"^[0-9]{1,15}(\.[0-9]{1,9})?~[A-Za-z0-9._-]{1,64}$"
Step = Annotated[int | None, Query(ge=-(2**63), le=2**63 - 1)]


@router.get("/projects")
def get_projects(session: Reading, access: Asking) -> dict[str, Any]:
    """Every project with the number of its runs."""
    return {"projects": projects(session, access.project)}


@router.get("/runs")
def get_runs(
    request: Request,
    session: Reading,
    access: Asking,
    project: Annotated[str | None, Query(max_length=200)] = None,
    state: Literal["running", "finished", "failed", "silent"] | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[
        str | None,
        Query(
            description="`next` of the page before",
            max_length=200,
            json_schema_extra={"pattern": _CURSOR},
        ),
    ] = None,
) -> dict[str, Any]:
    """Runs, the latest first. `next` is the value of `before` for the page that follows; null on the last one."""
    now, settings = time.time(), request.app.state.settings
    runs = list_runs(
        session,
        access.within(project),
        limit + 1,
        None if before is None else _cursor(before),
        state=RUNNING if state == SILENT else state,
        quiet_since=now - settings.silent_after if state in (RUNNING, SILENT) else None,
        quiet=state == SILENT,
    )
    page = runs[:limit]
    following = f"{page[-1].updated_at!r}~{page[-1].id}" if len(runs) > limit else None
    return {"runs": as_json(session, page, request.app.state.leads, settings, now), "next": following}


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


def _cursor(before: str) -> tuple[float, str]:
    if re.fullmatch(_CURSOR, before) is None:
        raise Invalid("`before` is not a cursor; pass the `next` of the page before.", field="before")
    at, _, run_id = before.partition("~")
    return float(at), run_id
