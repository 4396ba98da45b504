"""The requests that end things: delete a run; say for how long a project's runs are kept."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.lifecycle.retention import settle
from foreshock_server.store.runs import delete_run

router = APIRouter(tags=["lifecycle"])


class Retention(BaseModel):
    """For how long runs are kept."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", strict=True)

    retention_days: float | None = Field(
        gt=0, le=36_500, description="days after a run's last change until it is deleted; null: never"
    )


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
