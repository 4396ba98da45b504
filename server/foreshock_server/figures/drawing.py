"""A run in the database -> the list of its figures, and each of them drawn: reads what one figure needs and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server import models
from foreshock_server.errors import Invalid, UnknownFigure
from foreshock_server.figures import registry, series, statistic
from foreshock_server.figures.curves import POINTS, curve
from foreshock_server.figures.scene import Curve, Scene, SeriesInfo, forecasts, intervals, limits, worst
from foreshock_server.figures.style import THEMES
from foreshock_server.query.alerts import alerts as alerts_json
from foreshock_server.query.leads import last_of
from foreshock_server.rules.load import RuleSet
from foreshock_server.store import blocks
from foreshock_server.store.alerts import alerts_of
from foreshock_server.store.runs import get_run
from foreshock_server.store.series import find_series, list_series

TROUBLE = ("collapsing", "watch", "fine", "none")
MOST_KEYS = 12


def listed(session: Session, rules: RuleSet, run_id: str) -> dict[str, Any]:
    """The figures that the run has series for, and its families: those in trouble first, then those that were, then as usual.

    A statistic without a figure gets a plain one, and a series with an alert that no figure shows one of its own: nothing
    that was measured, and no alert, is out of sight.
    """
    get_run(session, run_id)
    known = [info_of(row) for row in list_series(session, run_id)]
    said = alerts_json(session, run_id, rules)
    fired = [change for change in said["transitions"] if change["kind"] == "fired"]
    figures: list[dict[str, Any]] = []
    shown: set[str] = set()
    drawn_already: set[str] = set()
    for panel in registry.panels():
        chosen = panel.choose(known)
        if chosen:
            drawn_already |= {info.statistic for info in chosen}
            keys = {info.key for info in chosen if info.family == panel.family}
            shown |= keys
            figures.append(_entry(panel, chosen, worst(said["alerts"], keys)))
    for panel in statistic.without_a_figure(known, drawn_already):
        chosen = panel.choose(known)
        if chosen:
            keys = {info.key for info in chosen}
            shown |= keys
            figures.append(_entry(panel, chosen, worst(said["alerts"], keys)))
    current = {alert["series"] for alert in said["alerts"] if alert["state"] != "ok"}
    for info in known:
        if info.key in current - shown:
            own = replace(
                series.SERIES, title=info.key, family=info.family, order=90, leads=(info.statistic,)
            )
            figures.append({**_entry(own, [info], worst(said["alerts"], {info.key})), "key": info.key})
    families = {
        name: {
            "family": name,
            "state": worst([alert for alert in said["alerts"] if alert["family"] == name]),
            "episodes": sum(change["family"] == name for change in fired),
        }
        for name in dict.fromkeys(str(figure["family"]) for figure in figures)
    }
    order = sorted(families.values(), key=_trouble)  # stable: else as the panels are registered
    places = {family["family"]: place for place, family in enumerate(order)}
    return {"figures": sorted(figures, key=lambda figure: places[figure["family"]]), "families": order}


def _trouble(family: Mapping[str, Any]) -> tuple[int, bool, tuple[int, str]]:
    return TROUBLE.index(family["state"]), not family["episodes"], registry.place_of(family["family"])


def _entry(panel: registry.Panel, chosen: Sequence[SeriesInfo], state: str) -> dict[str, Any]:
    return {
        "name": panel.name,
        "title": panel.title,
        "family": panel.family,
        "order": panel.order,
        "state": state,
        "about": panel.about,
        "height": panel.height(len(chosen)),
        "wide": panel.wide,
        "statistics": list(dict.fromkeys(info.statistic for info in chosen)),
        "last": _last(panel, chosen),
    }


def drawn(
    session: Session,
    rules: RuleSet,
    run_id: str,
    name: str,
    theme: str = "light",
    keys: Sequence[str] = (),
) -> go.Figure:
    """One figure; `series` draws the series of `keys`, every other one chooses its own."""
    if theme not in THEMES:
        raise Invalid(f"There is no theme {theme!r}; write one of {', '.join(THEMES)}.", field="theme")
    run = get_run(session, run_id)
    rows = {row.key: row for row in list_series(session, run_id)}
    panel = registry.find(name) or statistic.panel_of(name)
    if name == series.SERIES.name:
        panel = series.SERIES
        if not 1 <= len(keys) <= MOST_KEYS:
            raise Invalid(f"The figure `series` needs ?key=, once to {MOST_KEYS} times.", field="key")
        chosen = [info_of(find_series(session, run_id, key)) for key in dict.fromkeys(keys)]
    else:
        chosen = list(panel.choose([info_of(row) for row in rows.values()])) if panel else []
    if panel is None or not chosen:
        raise UnknownFigure(
            f"This run has no figure {name!r}; GET /api/v1/runs/{run_id}/figures lists those it has."
        )
    columns = blocks.read(session, run_id, [rows[info.key].series_id for info in chosen])
    data = {info.key: columns[rows[info.key].series_id] for info in chosen}
    alerts = [alert for alert in _evaluated(session, run_id) if alert["series"] in data]
    said = alerts_json(session, run_id, rules)
    changes = [change for change in said["transitions"] if change["series"] in data]
    figure = panel.draw(
        Scene(
            run=run_id,
            theme=theme,
            curves=tuple(_curve(info, data[info.key], panel) for info in chosen),
            intervals=intervals(alerts, changes),
            limits=limits(alerts, {rule.id for rule in rules.rules if rule.detector.kind == "forecast-drop"}),
            forecasts=forecasts(alerts),
            attempts=_attempts(session, run_id),
            last_step=run.last_step or 0,
        )
    )
    figure.update_layout(height=panel.height(len(chosen)))
    return figure


def _evaluated(session: Session, run_id: str) -> list[dict[str, Any]]:
    """Every alert with the numbers of its last evaluation, also of the rules that never spoke: their lines are drawn too."""
    return [
        {
            "rule": alert.rule,
            "series": row.key,
            "state": alert.state,
            "severity": alert.severity,
            "step": alert.last_step,
            **alert.reading,
        }
        for alert, row in alerts_of(session, run_id)
    ]


def _curve(info: SeriesInfo, data: blocks.Columns, panel: registry.Panel) -> Curve:
    return curve(info, data.steps, data.values, data.attempts, 0 if panel.whole else POINTS)


def info_of(row: models.Series) -> SeriesInfo:
    """A stored series as figures know it."""
    return SeriesInfo(
        key=row.key,
        statistic=row.statistic,
        family=row.family,
        place=row.place,
        labels=row.labels,
        unit=row.unit,
        title=row.about.get("title"),
        nonfinite=row.nonfinite,
        points=row.points,
        last=last_of(row),
    )


def _last(panel: registry.Panel, chosen: Sequence[SeriesInfo]) -> Mapping[str, Any] | None:
    """The number beside the title: only where one series speaks for the figure."""
    for lead in panel.leads:
        of_it = [info for info in chosen if info.statistic == lead]
        if len(of_it) == 1 and of_it[0].last is not None:
            return {"key": of_it[0].key, "value": of_it[0].last, "unit": of_it[0].unit}
    return None


def _attempts(session: Session, run_id: str) -> tuple[tuple[int, int], ...]:
    """Where every attempt but the first begins on the step axis."""
    query = (
        select(models.Block.attempt, func.min(models.Block.first_step))
        .where(models.Block.run_id == run_id, models.Block.attempt > 1, models.Block.first_step.is_not(None))
        .group_by(models.Block.attempt)
        .order_by(models.Block.attempt)
    )
    return tuple((attempt, first) for attempt, first in session.execute(query) if first is not None)
