"""Several runs beside each other, over HTTP: what can be compared of them, and Plotly JSON of one series of all of them."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from foreshock_server.deps import Asking, Reading
from foreshock_server.figures import compared
from foreshock_server.figures.endpoint import as_answer
from foreshock_server.query.asking import ListedRun
from foreshock_server.query.runs import as_json

router = APIRouter(tags=["figures"])

_Id = Annotated[str, Field(max_length=64)]
Runs = Annotated[list[_Id], Query(min_length=1, max_length=compared.MOST_RUNS, description="once per run")]


class DifferentSetting(BaseModel):
    """A setting that is not the same in all runs."""

    name: str
    values: list[str | None]


class Differences(BaseModel):
    """Settings that differ, each with its values as JSON in the order of the runs, null where it is not set; and how many do not."""

    differ: list[DifferentSetting]
    same: int


class RunsOfAKind(BaseModel):
    """Runs whose configurations differ in seeds alone."""

    label: str
    runs: list[str]


class CommonSeries(BaseModel):
    """A series, and how many of the runs have it."""

    key: str
    statistic: str
    family: str
    unit: str
    runs: int


class RuleThatSpoke(BaseModel):
    """A rule, and in how many of the runs it fired."""

    rule: str
    title: str
    runs: int


class ComparedRuns(BaseModel):
    """What can be compared."""

    runs: list[ListedRun]
    names: dict[str, str]
    groups: list[RunsOfAKind]
    config: Differences
    environment: Differences
    series: list[CommonSeries]
    rules: list[RuleThatSpoke]


@router.get("/compare", response_model=ComparedRuns)
def compare_runs(request: Request, session: Reading, access: Asking, run: Runs) -> Response:
    """How these runs differ in their configurations, which are the same but for their seeds, and which series they have in common."""
    state = request.app.state
    runs = compared.runs_of(session, run, access.project)
    answer: dict[str, Any] = compared.overview(session, runs, state.rulebook.look(session))
    answer["runs"] = as_json(session, runs, state.leads, state.settings, time.time())
    return JSONResponse(answer)


@router.get("/compare/figure")
def get_compare_figure(
    session: Reading,
    access: Asking,
    run: Runs,
    key: Annotated[str, Query(min_length=1, max_length=1000, description="of the series")],
    align: Annotated[
        Literal["step", "time", "alert"],
        Query(description="on the axis: steps, hours since each run began, or steps from each run's alert"),
    ] = "step",
    rule: Annotated[
        str | None, Query(max_length=100, description="whose alert; else the first that fired")
    ] = None,
    group: Annotated[
        Literal["none", "seeds"],
        Query(description="seeds: runs that differ in their seed alone become a mean and a range"),
    ] = "none",
    healthy: Annotated[
        list[_Id] | None,
        Query(
            max_length=compared.MOST_HEALTHY,
            description="runs whose range is drawn behind; `auto`: of the same projects, those tagged `healthy`, else those that ended well",
        ),
    ] = None,
    columns: Annotated[
        int, Query(ge=0, le=4, description="plots beside each other; 0: all runs in one plot")
    ] = 0,
    theme: Annotated[Literal["light", "dark", "none"], Query(description="none: no template")] = "light",
) -> Response:
    """One series of several runs as Plotly JSON. `layout.meta.left_out` says which runs are not drawn, and why."""
    ask = compared.Ask(run, key, align, rule, group, healthy or (), columns, theme)
    return as_answer(compared.figure(session, ask, access.project))
