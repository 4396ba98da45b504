"""Reads of Alert rows, with the series that each is about."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.models import Alert, Series

FIRING = "firing"


def firing(session: Session, run_id: str) -> list[dict[str, Any]]:
    """Every alert of the run that is firing now, in the shape of the wire contract's `alerts`."""
    query = (
        select(
            Alert.rule,
            Series.key,
            Alert.severity,
            Alert.fired_step,
            Alert.reading,
            Alert.episode,
        )
        .join(Series, (Series.run_id == Alert.run_id) & (Series.series_id == Alert.series_id))
        .where(Alert.run_id == run_id, Alert.state == FIRING)
        .order_by(Alert.fired_step, Alert.rule, Series.key)
    )
    return [
        {
            "rule": rule,
            "series": key,
            "state": FIRING,
            "severity": severity,
            "step": step,
            "value": reading.get("value"),
            "baseline": reading.get("baseline"),
            "threshold": reading.get("threshold"),
            "message": reading.get("message", ""),
            "episode": episode,
        }
        for rule, key, severity, step, reading, episode in session.execute(query)
    ]


def alerts_of(session: Session, run_id: str) -> list[tuple[Alert, Series]]:
    """Every alert row of the run with its series."""
    query = (
        select(Alert, Series)
        .join(Series, (Series.run_id == Alert.run_id) & (Series.series_id == Alert.series_id))
        .where(Alert.run_id == run_id)
        .order_by(Alert.rule, Alert.series_id)
    )
    return list(session.execute(query))


def counts(session: Session, run_ids: Collection[str]) -> dict[str, dict[tuple[str, str], int]]:
    """For each run: how many alert rows in each (state, severity). Runs that no rule looked at are missing."""
    found: dict[str, dict[tuple[str, str], int]] = {}
    query = (
        select(Alert.run_id, Alert.state, Alert.severity, func.count())
        .where(Alert.run_id.in_(run_ids))
        .group_by(Alert.run_id, Alert.state, Alert.severity)
    )
    for run_id, state, severity, number in session.execute(query):
        found.setdefault(run_id, {})[state, severity] = number
    return found
