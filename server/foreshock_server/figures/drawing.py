"""A run in the database -> one of its figures: reads what it needs and no more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
from sqlalchemy.orm import Session

from foreshock_server import models
from foreshock_server.errors import Invalid, UnknownFigure, UnknownSeries
from foreshock_server.figures import ceiling, health, layers, registry, rulers, series, statistic, vectors
from foreshock_server.figures.axis import Look, finish
from foreshock_server.figures.curves import POINTS, curve
from foreshock_server.figures.entries import STRETCHES, entry_maps
from foreshock_server.figures.listing import info_of
from foreshock_server.figures.scene import Curve, Scene, SeriesInfo, forecasts, intervals, limits
from foreshock_server.figures.style import THEMES
from foreshock_server.laws.reading import ENTROPY, REWARDS, ceiling_of
from foreshock_server.query.alerts import alerts as alerts_json
from foreshock_server.rules.load import RuleSet
from foreshock_server.store.alerts import alerts_of
from foreshock_server.store.heatmap import heatmap
from foreshock_server.store.latest import list_series, up_to_date
from foreshock_server.store.overview import Overview, shown
from foreshock_server.store.runs import get_run
from foreshock_server.store.series import find_all

MOST_KEYS = 12
MOST_NAMED = 64  # series that a figure names
EVERYTHING = Look()


def drawn(
    session: Session,
    rules: RuleSet,
    run_id: str,
    name: str,
    theme: str = "light",
    keys: Sequence[str] = (),
    look: Look = EVERYTHING,
) -> go.Figure:
    """One figure; `series` draws the series of `keys`, every other one chooses its own. `look`: of which steps, over what."""
    if theme not in THEMES:
        raise Invalid(f"There is no theme {theme!r}; write one of {', '.join(THEMES)}.", field="theme")
    if look.first is not None and look.last is not None and look.first > look.last:
        raise Invalid(f"first={look.first} lies after last={look.last}; exchange them.", field="first")
    get_run(session, run_id)
    rows = _rows(session, run_id, name, keys, look)
    known = list(rows.values())
    drawn_of: Sequence[SeriesInfo] = ()
    if name == ceiling.NAME:
        figure, thinned = _ceiling(session, run_id, theme), False
        drawn_of = ceiling.choose([info_of(row) for row in known])
    elif name.startswith(layers.PREFIX):
        figure, thinned = _layers(session, run_id, name, rows, theme, look)
    else:
        panel, drawn_of = _chosen(run_id, name, rows, keys)
        figure, thinned = _panel(session, rules, run_id, panel, drawn_of, rows, theme, look)
    events = rulers.events(session, run_id, known, look.first, look.last)
    ruler = rulers.ruler(session, run_id, known, look.x)
    named = [info.key for info in drawn_of[:MOST_NAMED]]
    finish(figure, look, ruler, events, theme, thinned=thinned, keys=named)
    return figure


def _rows(
    session: Session, run_id: str, name: str, keys: Sequence[str], look: Look
) -> dict[str, models.Series]:
    """Of a run with thousands of series those that this figure can need."""
    beside = rulers.needed(look.x)
    if name == series.SERIES.name:
        if not 1 <= len(keys) <= MOST_KEYS:
            raise Invalid(f"The figure `series` needs ?key=, once to {MOST_KEYS} times.", field="key")
        found = up_to_date(session, find_all(session, run_id, list(dict.fromkeys(keys))))
        found += [row for row in list_series(session, run_id, beside) if row.key not in keys]
    else:
        own = _statistics(name)
        found = list_series(session, run_id, None if own is None else {*own, *beside})
    return {row.key: row for row in found}


def _statistics(name: str) -> Collection[str] | None:
    if name == ceiling.NAME:
        return (*ENTROPY, *REWARDS)
    if name.startswith(layers.PREFIX):
        return (name.removeprefix(layers.PREFIX),)
    panel = _find(name)
    return () if panel is None else panel.reads


def _find(name: str) -> registry.Panel | None:
    return (
        registry.find(name) or statistic.panel_of(name) or vectors.panel_of(name) or health.further_of(name)
    )


def _chosen(
    run_id: str, name: str, rows: Mapping[str, models.Series], keys: Sequence[str]
) -> tuple[registry.Panel, list[SeriesInfo]]:
    """The figure of this name, and the series that it is drawn from."""
    if name == series.SERIES.name:
        return series.SERIES, [info_of(rows[key]) for key in dict.fromkeys(keys)]
    panel = _find(name)
    chosen = list(panel.chosen([info_of(row) for row in rows.values()])) if panel else []
    if panel is None or not chosen:
        raise _unknown(run_id, name)
    return panel, chosen


def _panel(
    session: Session,
    rules: RuleSet,
    run_id: str,
    panel: registry.Panel,
    chosen: Sequence[SeriesInfo],
    rows: Mapping[str, models.Series],
    theme: str,
    look: Look,
) -> tuple[go.Figure, bool]:
    """The figure, and whether a shorter range would show more of it."""
    steps = (None, None) if panel.from_start else (look.first, look.last)
    wanted = [rows[info.key] for info in chosen]
    numbers = [row for row in wanted if row.axis is None]
    found = shown(session, run_id, numbers, 0 if panel.whole else POINTS, *steps)
    maps = entry_maps(session, run_id, wanted, *steps)
    found |= {number: Overview(line, len(line), 0) for number, (line, _) in maps.items()}
    data = {row.key: found[row.series_id] for row in wanted}
    entries = {row.key: maps[row.series_id][1] for row in wanted if row.series_id in maps}
    alerts = [alert for alert in _evaluated(session, run_id) if alert["series"] in data]
    said = alerts_json(session, run_id, rules)
    changes = [change for change in said["transitions"] if change["series"] in data]
    curves = [replace(_curve(info, data[info.key], panel), entries=entries.get(info.key)) for info in chosen]
    figure = panel.draw(
        Scene(
            run=run_id,
            theme=theme,
            curves=tuple(curves),
            intervals=intervals(alerts, changes),
            limits=limits(alerts, {rule.id for rule in rules.rules if rule.detector.kind == "forecast-drop"}),
            forecasts=forecasts(alerts),
            last_step=get_run(session, run_id).last_step or 0,
            first=look.first,
            last=look.last,
        )
    )
    figure.update_layout(height=panel.height(len(chosen)))
    fewer = any(
        data[one.info.key].points > len(one.finite[0]) + len(one.odd_steps)
        for one in curves
        if one.entries is None
    )
    coarse = any(len(one.edges) > STRETCHES for one in entries.values())
    return figure, not panel.from_start and (panel.whole or fewer or coarse)


def _layers(
    session: Session, run_id: str, name: str, rows: Mapping[str, models.Series], theme: str, look: Look
) -> tuple[go.Figure, bool]:
    known = layers.statistics([info_of(row) for row in rows.values()])
    infos = known.get(name.removeprefix(layers.PREFIX))
    found = None
    if infos is not None:
        numbers = [rows[info.key].series_id for info in infos]
        found = heatmap(session, run_id, numbers, layers.COLUMNS, look.first, look.last)
    if infos is None or found is None:
        raise _unknown(run_id, name)
    wide = len(found.edges) > 1 and int(found.edges[1]) - int(found.edges[0]) > 1
    return layers.draw(infos, found.edges, found.means, theme), wide


def _unknown(run_id: str, name: str) -> UnknownFigure:
    return UnknownFigure(
        f"This run has no figure {name!r}; GET /api/v1/runs/{run_id}/figures lists those it has."
    )


def _ceiling(session: Session, run_id: str, theme: str) -> go.Figure:
    try:
        law = ceiling_of(session, run_id).law
    except UnknownSeries as error:
        raise UnknownFigure(str(error)) from None
    return ceiling.draw(law, theme)


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


def _curve(info: SeriesInfo, found: Overview, panel: registry.Panel) -> Curve:
    data, points = found.columns, 0 if panel.whole else POINTS
    return curve(info, data.steps, data.values, data.attempts, points, found.means)
