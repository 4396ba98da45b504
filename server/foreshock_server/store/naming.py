"""What people call a run -> the run."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid, UnknownRun
from foreshock_server.models import Run
from foreshock_server.store.runs import get_run


def find_run(session: Session, wanted: str, project: str | None = None) -> Run:
    """The run with this id, or the only one of this name (also `project/name`), within the project if one is said; else Invalid."""
    try:
        run = get_run(session, wanted)
        if project in (None, run.project):
            return run
    except UnknownRun:
        pass
    if "\0" in wanted:
        raise Invalid("The name of a run holds no NUL character.", field="runs")
    query = select(Run).where(
        Run.deleted_at.is_(None), (Run.project + "/" + Run.name == wanted) | (Run.name == wanted)
    )
    if project is not None:
        query = query.where(Run.project == project)
    named = list(session.scalars(query.order_by(Run.updated_at.desc()).limit(11)))
    if not named:
        raise Invalid(f"No run has the id or the name {wanted!r}; GET /api/v1/runs lists them.", field="runs")
    if len(named) > 1:
        ids = ", ".join(run.id for run in named[:10])
        raise Invalid(f"Several runs are called {wanted!r}; write the id of one: {ids}.", field="runs")
    return named[0]
