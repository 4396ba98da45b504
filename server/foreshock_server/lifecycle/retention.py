"""The retention of projects -> runs without a change for longer are deleted; one that may still be sending never is."""

from __future__ import annotations

import logging

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.db import Database
from foreshock_server.errors import UnknownRun
from foreshock_server.models import Project, Run, Writer
from foreshock_server.store.once import insert_once
from foreshock_server.store.runs import RUNNING, delete_run, lock_run

log = logging.getLogger(__name__)

DAY = 86400.0
AT_ONCE = 100  # runs


def settle(session: Session, name: str, retention_days: float | None, now: float) -> Project:
    """The project, whose runs are kept for so many days after their last change; None: for good."""
    insert_once(session, Project, {"name": name, "created_at": now})
    project = session.get_one(Project, name)
    project.retention_days = retention_days
    session.flush()
    return project


def expire(database: Database, now: float) -> list[str]:
    """The runs that are deleted now; at most AT_ONCE, so call it again."""
    with database.reading() as session:
        query = (
            select(Run.id)
            .join(Project, Project.name == Run.project)
            .where(Run.deleted_at.is_(None), Run.updated_at < now - Project.retention_days * DAY)
            .order_by(Run.updated_at)
            .limit(AT_ONCE)
        )
        old = list(session.scalars(query))
    expired = []
    for run_id in old:
        try:
            with database.writing() as session:
                days = _overdue(session, run_id, now)
                if days is not None:
                    delete_run(session, run_id, now)
        except UnknownRun:
            continue  # somebody was faster
        if days is not None:
            expired.append(run_id)
            log.info(
                "run %s is deleted: nothing changed in it for %g days, its project's retention", run_id, days
            )
    return expired


def _overdue(session: Session, run_id: str, now: float) -> float | None:
    """The retention of its project in days, if the run is past it as it stands now."""
    run = lock_run(session, run_id)
    project = session.get(Project, run.project)
    if project is None or project.retention_days is None:
        return None
    seen = session.scalar(select(func.max(Writer.seen_at)).where(Writer.run_id == run_id))
    quiet = now - max(run.updated_at, seen or 0.0)
    # A running one may be pausing: it gets a day, however short the retention.
    least = max(project.retention_days * DAY, DAY if run.state == RUNNING else 0.0)
    return project.retention_days if quiet > least else None
