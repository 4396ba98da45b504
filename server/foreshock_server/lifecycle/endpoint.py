"""What becomes of runs: put aside, tagged, thrown away and taken back, deleted; and for how long a project's are kept."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.deps import LINES, PLAIN, Asking, Reading
from foreshock_server.lifecycle.retention import settle
from foreshock_server.store import shelf
from foreshock_server.store.runs import delete_run

router = APIRouter(tags=["lifecycle"])


class Retention(BaseModel):
    """For how long runs are kept."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", strict=True)

    retention_days: float | None = Field(
        gt=0, le=36_500, description="days after a run's last change until it is deleted; null: never"
    )


_Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
_Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN)]


class ChangeOfRuns(BaseModel):
    """What shall be so for these runs from now on; what is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    runs: list[_Id] = Field(min_length=1, max_length=500, description="ids")
    archived: bool | None = Field(None, description="lists leave it out unless they are asked")
    trashed: bool | None = Field(
        None, description="true: in the trash, and deleted after seven days; false: taken back"
    )
    owner: str | None = Field(None, max_length=100, pattern=PLAIN, description="empty: nobody")
    note: str | None = Field(
        None,
        max_length=shelf.LONGEST_NOTE,
        pattern=LINES,
        description="plain text instead of the one before; empty: none",
    )
    add_tags: list[_Tag] = Field(default_factory=list, max_length=shelf.MOST_TAGS)
    remove_tags: list[_Tag] = Field(default_factory=list, max_length=shelf.MOST_TAGS)


class ChangedRuns(BaseModel):
    """What came of it."""

    changed: list[str] = Field(
        description="the runs that were otherwise before: the opposite request for these undoes it"
    )
    unknown: list[str] = Field(description="ids of no run here")


class Counted(BaseModel):
    """A word, and how many runs it is about."""

    name: str
    runs: int


class Words(BaseModel):
    """What a list of runs can be narrowed to."""

    tags: list[Counted]
    owners: list[Counted]


@router.patch("/runs")
def change_runs(request: Request, access: Asking, wish: ChangeOfRuns) -> ChangedRuns:
    """Archive, tag, note, hand over, throw away or take back up to 500 runs at once. Idempotent; what was recorded is not touched."""
    change = shelf.Change(
        archived=wish.archived,
        trashed=wish.trashed,
        owner=wish.owner,
        note=wish.note,
        by=access.name,
        add_tags=tuple(wish.add_tags),
        remove_tags=tuple(wish.remove_tags),
    )
    with request.app.state.database.writing() as session:
        changed, unknown = shelf.apply(session, wish.runs, change, time.time(), access.project)
    for run in changed:
        request.app.state.bus.publish(run)
    return ChangedRuns(changed=changed, unknown=unknown)


@router.get("/tags")
def list_tags(
    session: Reading, access: Asking, project: Annotated[str | None, Query(max_length=200)] = None
) -> Words:
    """Every tag and every owner, with the number of their runs."""
    return Words.model_validate(shelf.words(session, access.within(project)))


@router.delete("/runs/{run}")
def delete_one_run(request: Request, run: str) -> dict[str, Any]:
    """Delete a run for good. It is gone for everybody when this answers; its space is given back in the background."""
    with request.app.state.database.writing() as session:
        delete_run(session, run, time.time())
    request.app.state.bus.publish(run)
    return {"run": run, "state": "deleted"}


@router.put("/projects/{project:path}")
def put_project(
    request: Request,
    project: Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")],
    retention: Retention,
) -> dict[str, Any]:
    """Say for how long the runs of a project are kept, also before it has any. Idempotent."""
    with request.app.state.database.writing() as session:
        settled = settle(session, project, retention.retention_days, time.time())
        return {"project": settled.name, "retention_days": settled.retention_days}
