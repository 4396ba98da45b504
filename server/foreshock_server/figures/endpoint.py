"""Figures over HTTP: what a run can show, and Plotly JSON with typed arrays that page and notebook draw alike."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal
from urllib.parse import quote

import plotly.graph_objects as go
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from foreshock_server.deps import Reading
from foreshock_server.figures import drawing, growth, listing
from foreshock_server.figures.axis import Look, X
from foreshock_server.figures.report import report
from foreshock_server.figures.sending import as_json

router = APIRouter(tags=["figures"])

Step = Annotated[
    int | None,
    Query(ge=-(2**63), le=2**63 - 1, description="of these steps alone, in all the detail that they have"),
]


@router.get("/runs/{run}/figures")
def list_figures(request: Request, session: Reading, run: str) -> dict[str, Any]:
    """The figures of this run, those of families in trouble first."""
    return listing.listed(session, request.app.state.rulebook.look(session), run)


@router.get("/runs/{run}/figures/{name}")
def get_figure(
    request: Request,
    session: Reading,
    run: str,
    name: str,
    theme: Annotated[Literal["light", "dark", "none"], Query(description="none: no template")] = "light",
    key: Annotated[list[str] | None, Query(description="for the figure `series`: which ones")] = None,
    x: Annotated[
        X, Query(description="what the axis counts; tokens where the run logs a running total of them")
    ] = "step",
    first: Step = None,
    last: Step = None,
    since: Annotated[
        str | None,
        Query(
            description="`layout.meta.mark` of the answer before, 0 for none: of each line only what is new, `layout.meta.kept` points stay",
            max_length=growth.LONGEST,
            pattern=growth.MARK,
        ),
    ] = None,
) -> Response:
    """One figure as Plotly JSON: `plotly.io.from_json` reads it, `Plotly.react` draws it."""
    rules = request.app.state.rulebook.look(session)
    figure = drawing.drawn(session, rules, run, name, theme, key or [], Look(x, first, last))
    if since is not None:
        growth.shorten(figure, since)
    return as_answer(figure)


def as_answer(figure: go.Figure) -> Response:
    """A figure as JSON in which no name is markup."""
    return Response(as_json(figure), media_type="application/json")


@router.get("/runs/{run}/report", response_class=HTMLResponse)
def get_report(
    request: Request,
    session: Reading,
    run: str,
    theme: Annotated[Literal["light", "dark"], Query()] = "light",
) -> HTMLResponse:
    """The run as one HTML file that can be kept and sent: verdict, alerts, figures. It asks no other host for anything."""
    state = request.app.state
    name, page = report(session, state.rulebook.look(session), state.settings, run, theme, time.time())
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return HTMLResponse(page, headers={"Content-Disposition": disposition, "Cache-Control": "no-store"})
