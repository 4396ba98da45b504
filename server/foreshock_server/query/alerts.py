"""Alert and Transition rows -> what fires, what fired, and why, as JSON; of one run, or of all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from foreshock_server.deps import Asking, Reading
from foreshock_server.models import Alert, Run, Series, Transition
from foreshock_server.rules.load import RuleSet
from foreshock_server.store.runs import get_run

router = APIRouter(tags=["alerts"])

_NUMBERS = ("value", "level", "baseline", "share_of_baseline", "threshold", "warn_level", "clear", "forecast")


@router.get("/runs/{run}/alerts")
def get_alerts_of_run(request: Request, session: Reading, run: str) -> dict[str, Any]:
    """Every alert of the run that is not quiet or ever fired, and every change of one, in order."""
    get_run(session, run)
    return alerts(session, run, request.app.state.rulebook.look(session))


@router.get("/alerts")
def get_alerts(
    request: Request,
    session: Reading,
    access: Asking,
    state: Annotated[Literal["firing", "pending"], Query(description="the state they are in")] = "firing",
    project: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """What fires (or is pending) now in all runs, critical first, the latest first."""
    rules: RuleSet = request.app.state.rulebook.look(session)
    query = (
        select(Alert, Series, Run)
        .join(Series, (Series.run_id == Alert.run_id) & (Series.series_id == Alert.series_id))
        .join(Run, Run.id == Alert.run_id)
        .where(Alert.state == state, Run.deleted_at.is_(None), Run.trashed_at.is_(None))
        .order_by(Alert.severity, Run.updated_at.desc(), Alert.since_step, Alert.rule, Alert.series_id)
        .limit(limit)
    )
    only = access.within(project)
    if only is not None:
        query = query.where(Run.project == only)
    return {
        "alerts": [
            {"run": run.id, "project": run.project, "name": run.name, **_alert(alert, series, {}, rules)}
            for alert, series, run in session.execute(query)
        ]
    }


def alerts(session: Session, run_id: str, rules: RuleSet) -> dict[str, Any]:
    """The alerts of one run and their changes; a rule that never moved on a series is left out."""
    changes = changes_of(session, run_id)
    latest = {(change.rule, change.series_id, change.kind): change for change, _ in changes}
    query = (
        select(Alert, Series)
        .join(Series, (Series.run_id == Alert.run_id) & (Series.series_id == Alert.series_id))
        .where(Alert.run_id == run_id, or_(Alert.state != "ok", Alert.episode > 0))
        .order_by(Alert.rule, Alert.series_id)
    )
    rows = [_alert(alert, series, latest, rules) for alert, series in session.execute(query)]
    rows.sort(key=lambda row: (_ORDER[row["state"]], row["severity"] != "critical", row["since_step"] or 0))
    return {"alerts": rows, "transitions": [change_json(change, series) for change, series in changes]}


_ORDER = {"firing": 0, "pending": 1, "ok": 2}


def changes_of(session: Session, run_id: str) -> list[tuple[Transition, Series]]:
    """Every change of an alert of the run with its series, in order."""
    query = (
        select(Transition, Series)
        .join(Series, (Series.run_id == Transition.run_id) & (Series.series_id == Transition.series_id))
        .where(Transition.run_id == run_id)
        .order_by(
            Transition.at, Transition.created_at, Transition.step, Transition.rule, Transition.series_id
        )
    )
    return list(session.execute(query))


def _alert(
    alert: Alert, series: Series, latest: dict[tuple[str, int, str], Transition], rules: RuleSet
) -> dict[str, Any]:
    fired = latest.get((alert.rule, alert.series_id, "fired"))
    resolved = latest.get((alert.rule, alert.series_id, "resolved"))
    over = alert.state != "firing" and fired is not None
    return {
        **_about(alert.rule, series, alert.reading),
        "state": alert.state,
        "severity": fired.severity if over and fired is not None else alert.severity,
        "episode": alert.episode,
        "since_step": fired.since_step if over and alert.since_step is None and fired else alert.since_step,
        "fired_step": fired.step if over and fired is not None else alert.fired_step,
        "resolved_step": resolved.step if over and resolved is not None else None,
        "step": alert.last_step,
        **{name: alert.reading.get(name) for name in _NUMBERS},
        "undecided": alert.reading.get("undecided"),
        "message": _message(alert, resolved),
        "runbook": rules.runbook_of(alert.rule),
    }


def _message(alert: Alert, resolved: Transition | None) -> str | None:
    """The sentence of what is so now, with why nothing new is decided; else how it ended."""
    said, undecided = alert.reading.get("message"), alert.reading.get("undecided")
    if said and undecided:
        return f"{said} Not decided now: {undecided}."
    return said or (resolved.detail.get("message") if resolved else None)


def change_json(change: Transition, series: Series) -> dict[str, Any]:
    """A change as people read it."""
    return {
        **_about(change.rule, series, change.detail),
        "kind": change.kind,
        "severity": change.severity,
        "episode": change.episode,
        "step": change.step,
        "since_step": change.since_step,
        "at": change.at,
        **{name: change.detail.get(name) for name in _NUMBERS},
        "entry": change.detail.get("entry"),  # of a vector: which one, such as `expert 3`
        "message": change.detail.get("message"),
        "reason": change.detail.get("reason"),
    }


def _about(rule: str, series: Series, reading: dict[str, Any]) -> dict[str, Any]:
    return {
        "rule": rule,
        "title": reading.get("title", rule),
        "family": series.family,
        "series": series.key,
        "place": series.place,
        "statistic": series.statistic,
        "unit": reading.get("unit", series.unit),
        "derived": reading.get("derived"),  # how, where the numbers are not of the series alone
    }
