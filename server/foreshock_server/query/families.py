"""Runs -> for each the families that it has series of, and how each of them stands now: what a row of the list shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Alert, Run, Series
from foreshock_server.query.verdict import COLLAPSING, FINE, FIRING, PENDING, WATCH, place_of


def families_of(session: Session, runs: Sequence[Run]) -> dict[str, list[dict[str, str]]]:
    """`[{"family", "state"}]` of each run in the page's order; a run without a reading is missing."""
    ids = [run.id for run in runs if run.points]
    states = _known(session, ids)
    query = (
        select(Alert.run_id, Series.family, Alert.state, Alert.severity)
        .join(Series, (Series.run_id == Alert.run_id) & (Series.series_id == Alert.series_id))
        .where(Alert.run_id.in_(ids), Alert.state.in_((FIRING, PENDING)))
        .distinct()
    )
    for run_id, family, state, severity in session.execute(query):
        worst = COLLAPSING if (state, severity) == (FIRING, "critical") else WATCH
        if states[run_id].get(family) != COLLAPSING:
            states[run_id][family] = worst
    return {
        run_id: [{"family": family, "state": known[family]} for family in sorted(known, key=place_of)]
        for run_id, known in states.items()
    }


def _known(session: Session, ids: Collection[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    query = select(Series.run_id, Series.family).where(Series.run_id.in_(ids))
    for run_id, family in session.execute(query.group_by(Series.run_id, Series.family)):
        found.setdefault(run_id, {})[family] = FINE
    return found
