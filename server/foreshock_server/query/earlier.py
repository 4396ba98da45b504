"""An incident, and the runs of its project before this one -> in which of them the same rules fired, and where to look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.models import Incident, Run, Transition

MOST_RUNS = 50  # that are looked at, the latest before this one


def earlier(session: Session, run: Run, rules: Sequence[str]) -> dict[str, Any]:
    """How many earlier runs there are, of at most `MOST_RUNS`, the one just before, and of each rule in which runs it fired.

    Runs are ordered by when they began; one without a reading is no run that could have fired. `last` and `previous` name the
    step of the first firing, and the incident where there is one.
    """
    query = (
        select(Run)
        .where(
            Run.project == run.project,
            Run.created_at < run.created_at,
            Run.deleted_at.is_(None),
            Run.points > 0,
        )
        .order_by(Run.created_at.desc(), Run.id)
        .limit(MOST_RUNS)
    )
    before = list(session.scalars(query))
    fired = _fired(session, [one.id for one in before], rules)
    previous = before[0] if before else None
    return {
        "runs": len(before),
        "previous": None if previous is None else {"run": previous.id, "name": previous.name},
        "rules": {rule: _of_rule(session, rule, before, fired) for rule in rules},
    }


def _of_rule(
    session: Session, rule: str, before: Sequence[Run], fired: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    hits = [one for one in before if (one.id, rule) in fired]
    last = hits[0] if hits else None
    return {
        "fired": len(hits),
        "in_previous": bool(hits) and hits[0].id == before[0].id,
        "last": None
        if last is None
        else {
            "run": last.id,
            "name": last.name,
            "step": fired[last.id, rule],
            "number": _incident(session, last.id, rule),
        },
    }


def _fired(session: Session, runs: Sequence[str], rules: Sequence[str]) -> dict[tuple[str, str], int]:
    """By run and rule, the step at which it first fired."""
    query = (
        select(Transition.run_id, Transition.rule, func.min(Transition.step))
        .where(Transition.run_id.in_(runs), Transition.rule.in_(rules), Transition.kind == "fired")
        .group_by(Transition.run_id, Transition.rule)
    )
    return {(run, rule): int(step) for run, rule, step in session.execute(query)}


def _incident(session: Session, run_id: str, rule: str) -> int | None:
    """The first one of that run in which the rule took part."""
    found = session.scalars(select(Incident).where(Incident.run_id == run_id).order_by(Incident.number))
    return next((one.number for one in found if rule in one.rules), None)
