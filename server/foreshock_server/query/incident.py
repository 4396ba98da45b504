"""One incident -> what its alerts did while it was open, what to do about each of its rules, and what concerns it: silences, earlier runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request

from foreshock_server.deps import Reading
from foreshock_server.incidents.endpoint import Number, shown, shown_silence
from foreshock_server.models import Incident, Transition
from foreshock_server.query.alerts import change_json, changes_of
from foreshock_server.query.earlier import earlier
from foreshock_server.store.incidents import get_incident, sentences
from foreshock_server.store.matching import about, fits
from foreshock_server.store.runs import get_run
from foreshock_server.store.silences import in_force

router = APIRouter(tags=["incidents"])


@router.get("/runs/{run}/incidents/{number}")
def get_incident_of_run(request: Request, session: Reading, run: str, number: Number) -> dict[str, Any]:
    """One incident with every change of its alerts in order, the runbook of each of its rules, the silences in force that fit, and in
    which earlier runs of the project the same rules fired."""
    row, incident, now = get_run(session, run), get_incident(session, run, number), time.time()
    changes = changes_of(session, run)
    own = episodes(incident, [change for change, _ in changes])
    part = [(change, series) for change, series in changes if _episode(change) in own]
    rules = request.app.state.rulebook.look(session)
    spoken_of = [about(row, change, series) for change, series in part]
    silences = [
        shown_silence(silence, now)
        for silence in in_force(session, row.project, now)
        if any(fits(silence.matches, alert) for alert in spoken_of)
    ]
    return {
        **shown(incident, row, sentences(session, [incident])),
        "transitions": [change_json(change, series) for change, series in part],
        "runbooks": {rule: rules.runbook_of(rule) for rule in incident.rules},
        "silences": silences,
        "earlier": earlier(session, row, incident.rules),
    }


def episodes(incident: Incident, changes: Iterable[Transition]) -> set[tuple[str, int, int]]:
    """The episodes (rule, series, number) of its rules that began while it was open. Pure.

    What begins in the very moment in which it opens or ends is told by its step: a block of many steps is judged in one moment.
    """
    return {
        _episode(change)
        for change in changes
        if change.kind == "fired" and change.rule in incident.rules and _within(incident, change)
    }


def _within(incident: Incident, change: Transition) -> bool:
    at, ends = change.created_at, incident.resolved_at
    if at < incident.opened_at or (at == incident.opened_at and change.step < incident.opened_step):
        return False
    if ends is None or at < ends:
        return True
    return at == ends and incident.resolved_step is not None and change.step <= incident.resolved_step


def _episode(change: Transition) -> tuple[str, int, int]:
    return change.rule, change.series_id, change.episode
