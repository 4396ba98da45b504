"""Figures over HTTP: what a run can show, and Plotly JSON with typed arrays that page and notebook draw alike."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from foreshock_server.deps import Reading
from foreshock_server.figures import drawing, growth

router = APIRouter(tags=["figures"])


@router.get("/runs/{run}/figures")
def list_figures(request: Request, session: Reading, run: str) -> dict[str, Any]:
    """The figures of this run, those of families in trouble first."""
    return drawing.listed(session, request.app.state.rules, run)


@router.get("/runs/{run}/figures/{name}")
def get_figure(
    request: Request,
    session: Reading,
    run: str,
    name: str,
    theme: Annotated[Literal["light", "dark", "none"], Query(description="none: no template")] = "light",
    key: Annotated[list[str] | None, Query(description="for the figure `series`: which ones")] = None,
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
    figure = drawing.drawn(session, request.app.state.rules, run, name, theme, key or [])
    if since is not None:
        growth.shorten(figure, since)
    return Response(_harmless(figure.to_json()), media_type="application/json")


# Plotly reads tags in names and hover texts, links included, and series are named by whoever sends them. These two are ours.
_TAG = re.compile(r"(?:<|\\u003c)(?!(?:/|\\u002f)?(?:extra|br)(?:>|\\u003e))", re.IGNORECASE)


def _harmless(figure: str) -> str:
    return _TAG.sub("&lt;", figure)
