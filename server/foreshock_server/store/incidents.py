"""Incidents as rows: listed, acknowledged. What opens, tells and closes them is store/telling.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from foreshock_server.errors import UnknownIncident
from foreshock_server.models import Incident, Run, Transition
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
        .where(Run.deleted_at.is_(None), Run.trashed_at.is_(None))
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


def sentences(session: Session, found: Iterable[Incident]) -> Mapping[tuple[str, int], str]:
    """What was said of each when it began, by (run, number); of one that is muted, what its first alert would say."""
    leads = {}
    for one in found:
        if one.rule is not None:
            leads[one.run_id, one.rule, one.series_id, one.episode] = one.run_id, one.number
        elif one.firing:
            rule, series_id, episode, *_ = one.firing[0]
            leads[one.run_id, rule, series_id, episode] = one.run_id, one.number
    if not leads:
        return {}
    named = (Transition.run_id, Transition.rule, Transition.series_id, Transition.episode)
    query = select(*named, Transition.detail).where(
        Transition.kind == "fired", tuple_(*named).in_(list(leads))
    )
    told = {
        leads[run, rule, series, episode]: detail.get("message")
        for run, rule, series, episode, detail in session.execute(query)
    }
    return {whose: message for whose, message in told.items() if message}


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
