"""Incidents as rows: listed, acknowledged. What opens, tells and closes them is store/telling.py."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.errors import UnknownIncident
from foreshock_server.models import Incident, Run
from foreshock_server.store.runs import get_run, lock_run, touch

OPEN, RESOLVED = "open", "resolved"
MOST = 2**63 - 1


def of_run(session: Session, run_id: str) -> Sequence[Incident]:
    """All of them, as they began."""
    get_run(session, run_id)
    return session.scalars(select(Incident).where(Incident.run_id == run_id).order_by(Incident.number)).all()


def list_incidents(
    session: Session, *, state: str | None, project: str | None, limit: int
) -> list[tuple[Incident, Run]]:
    """Of all runs, or a project's: the latest first."""
    query = (
        select(Incident, Run)
        .join(Run, Run.id == Incident.run_id)
        .where(Run.deleted_at.is_(None))
        .order_by(Incident.opened_at.desc(), Incident.run_id, Incident.number)
        .limit(limit)
    )
    if state is not None:
        query = query.where(Incident.state == state)
    if project is not None:
        query = query.where(Run.project == project)
    return [(incident, run) for incident, run in session.execute(query)]


def get_incident(session: Session, run_id: str, number: int) -> Incident:
    """The incident with this number, or UnknownIncident."""
    get_run(session, run_id)
    found = session.get(Incident, (run_id, number)) if 0 < number <= MOST else None
    if found is None:
        raise UnknownIncident
    return found


def acknowledge(session: Session, run_id: str, number: int, by: str, now: float) -> Incident:
    """Somebody looks after it: nothing more is said before it is over. Whoever was first stays."""
    get_incident(session, run_id, number)
    lock_run(session, run_id)
    incident = session.get_one(Incident, (run_id, number), populate_existing=True)
    if incident.acknowledged_at is None:
        incident.acknowledged_at, incident.acknowledged_by, incident.next_at = now, by, None
        touch(session, run_id, now)
    return incident


def unacknowledge(session: Session, run_id: str, number: int, now: float) -> Incident:
    """Nobody does any more."""
    get_incident(session, run_id, number)
    lock_run(session, run_id)
    incident = session.get_one(Incident, (run_id, number), populate_existing=True)
    if incident.acknowledged_at is not None:
        incident.acknowledged_at = incident.acknowledged_by = None
        incident.next_at = now if incident.state == OPEN else None
        touch(session, run_id, now)
    return incident
