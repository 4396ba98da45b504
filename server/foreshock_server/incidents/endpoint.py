"""Incidents and silences over HTTP: what goes on, who looks after it, what shall not be told for a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from foreshock_server import models
from foreshock_server.deps import PLAIN, Access, Asking, Reading, Writing
from foreshock_server.errors import UnknownSilence
from foreshock_server.store import incidents, silences
from foreshock_server.store.matching import Matches
from foreshock_server.store.runs import get_run

router = APIRouter(tags=["incidents"])

LONGEST = 366 * 86400.0  # seconds of a silence
Number = Annotated[int, Path(ge=1, le=incidents.MOST, description="of the incident within the run")]


class NewSilence(BaseModel):
    """What shall not be told, for how long, and why."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    matches: Matches
    seconds: float = Field(gt=0, le=LONGEST, description="from now on")
    reason: str = Field(
        "", max_length=1000, pattern=PLAIN, description="for whoever wonders why nothing comes"
    )


@router.get("/incidents")
def list_incidents(
    session: Reading,
    access: Asking,
    state: Annotated[Literal["open", "resolved", "all"], Query()] = "open",
    project: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """What goes on in all runs, the latest first."""
    found = incidents.list_incidents(
        session, state=None if state == "all" else state, project=access.within(project), limit=limit
    )
    said = incidents.sentences(session, [incident for incident, _ in found])
    return {"incidents": [shown(incident, run, said) for incident, run in found]}


@router.get("/runs/{run}/incidents")
def get_incidents_of_run(session: Reading, run: str) -> dict[str, Any]:
    """Every incident of the run, as they began."""
    row = get_run(session, run)
    found = incidents.of_run(session, run)
    said = incidents.sentences(session, found)
    return {"incidents": [shown(incident, row, said) for incident in found]}


@router.post("/runs/{run}/incidents/{number}/acknowledge")
def acknowledge_incident(request: Request, run: str, number: Number, access: Asking) -> dict[str, Any]:
    """Say that somebody looks after it: no reminder, no further channel. Its end is told all the same. Idempotent."""
    with request.app.state.database.writing() as session:
        incident = incidents.acknowledge(session, run, number, _who(access), time.time())
        answer = shown(incident, get_run(session, run), incidents.sentences(session, [incident]))
    request.app.state.bus.publish(run)
    return answer


@router.delete("/runs/{run}/incidents/{number}/acknowledge")
def unacknowledge_incident(request: Request, run: str, number: Number) -> dict[str, Any]:
    """Take that back."""
    with request.app.state.database.writing() as session:
        incident = incidents.unacknowledge(session, run, number, time.time())
        answer = shown(incident, get_run(session, run), incidents.sentences(session, [incident]))
    request.app.state.bus.publish(run)
    return answer


@router.get("/silences")
def list_silences(
    session: Reading,
    access: Asking,
    over: Annotated[bool, Query(description="also those that ended in the last 30 days")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """Those in force; of a key of one project those that concern it."""
    now = time.time()
    found = silences.list_silences(session, now, access.project, over=over, limit=limit)
    return {"silences": [shown_silence(one, now) for one in found]}


@router.post("/silences", status_code=201)
def create_silence(wish: NewSilence, session: Writing, access: Asking) -> dict[str, Any]:
    """From now on nothing that fits is told, for so many seconds; what still goes on then is told then. Alerts fire all the same, and
    the end of what was told before is told. The silence of a key of one project concerns that project alone."""
    now = time.time()
    silence = silences.create_silence(
        session,
        project=access.project,
        matches=wish.matches.given(),
        seconds=wish.seconds,
        reason=wish.reason,
        made_by=_who(access),
        now=now,
    )
    return shown_silence(silence, now)


@router.delete("/silences/{silence_id}")
def end_silence(silence_id: str, session: Writing, access: Asking) -> dict[str, Any]:
    """Take a silence back."""
    silence = silences.get_silence(session, silence_id)
    if access.project not in (None, silence.project):
        raise UnknownSilence
    now = time.time()
    return shown_silence(silences.end_silence(session, silence, now), now)


def shown(incident: models.Incident, run: models.Run, said: Mapping[tuple[str, int], str]) -> dict[str, Any]:
    """An incident as people read it; `said`: what the alerts that began them say."""
    return {
        "run": run.id,
        "project": run.project,
        "name": run.name,
        "number": incident.number,
        "family": incident.family,
        "state": incident.state,
        "severity": incident.severity,
        "message": said.get((run.id, incident.number)),
        "rules": incident.rules,
        "firing": sorted({rule for rule, *_ in incident.firing}),
        "muted": incident.muted,
        "opened_step": incident.opened_step,
        "resolved_step": incident.resolved_step,
        "opened_at": incident.opened_at,
        "told_at": incident.told_at,
        "resolved_at": incident.resolved_at,
        "acknowledged_at": incident.acknowledged_at,
        "acknowledged_by": incident.acknowledged_by,
    }


def shown_silence(silence: models.Silence, now: float) -> dict[str, Any]:
    """A silence as people read it."""
    return {
        "id": silence.id,
        "project": silence.project,
        "matches": silence.matches,
        "reason": silence.reason,
        "made_by": silence.made_by,
        "created_at": silence.created_at,
        "ends_at": silence.ends_at,
        "in_force": silence.ends_at > now,
    }


def _who(access: Access) -> str:
    return (access.name or "somebody without a key")[:100]
