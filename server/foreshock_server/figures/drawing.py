"""A run in the database -> the list of its figures, and each of them drawn: reads what one figure needs and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
from sqlalchemy.orm import Session

from foreshock_server import models
from foreshock_server.errors import Invalid, UnknownFigure, UnknownSeries
from foreshock_server.figures import ceiling, layers, registry, series, statistic, vectors
from foreshock_server.figures.curves import POINTS, curve
from foreshock_server.figures.entries import entry_maps
from foreshock_server.figures.scene import Curve, Scene, SeriesInfo, forecasts, intervals, limits, worst
from foreshock_server.figures.style import THEMES
from foreshock_server.laws.reading import ceiling_of
from foreshock_server.query.alerts import alerts as alerts_json
from foreshock_server.query.leads import last_of
from foreshock_server.rules.load import RuleSet
from foreshock_server.store.alerts import alerts_of
from foreshock_server.store.heatmap import heatmap
from foreshock_server.store.latest import list_series
from foreshock_server.store.overview import Overview, shown
from foreshock_server.store.runs import get_run, list_attempts
from foreshock_server.store.series import find_all

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
    for panel in sorted([*registry.panels(), ceiling.CEILING], key=registry.Panel.place):
        chosen = panel.chosen(known)
        if chosen:
            drawn_already |= {info.statistic for info in chosen}
            keys = {info.key for info in chosen if info.family == panel.family}
            shown |= keys
            figures.append(_entry(panel, chosen, worst(said["alerts"], keys)))
    for panel in [*statistic.without_a_figure(known, drawn_already), *vectors.of_vectors(known)]:
        chosen = panel.chosen(known)
        if chosen:
            keys = {info.key for info in chosen}
            shown |= keys
            figures.append(_entry(panel, chosen, worst(said["alerts"], keys)))
    for name, chosen in layers.statistics(known).items():
        state = worst(said["alerts"], {info.key for info in chosen})
        figures.append(_entry(_of_layers(name, chosen), chosen, state))
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


def _of_layers(name: str, chosen: Sequence[SeriesInfo]) -> registry.Panel:
    """How it stands in the list; it is drawn from means, not from a scene."""
    title, family = chosen[0].title or name, chosen[0].family
    about = "A row per place, a column per stretch of steps: the mean."
    return replace(
        series.SERIES,
        name=layers.PREFIX + name,
        title=f"{title}, by layer",
        family=family,
        order=layers.ORDER,
        about=about,
        height=layers.height,
    )


def _layers(
    session: Session, run_id: str, name: str, rows: Mapping[str, models.Series], theme: str
) -> go.Figure:
    known = layers.statistics([info_of(row) for row in rows.values()])
    infos = known.get(name.removeprefix(layers.PREFIX))
    found = None
    if infos is not None:
        found = heatmap(session, run_id, [rows[info.key].series_id for info in infos], layers.COLUMNS)
    if infos is None or found is None:
        raise UnknownFigure(
            f"This run has no figure {name!r}; GET /api/v1/runs/{run_id}/figures lists those it has."
        )
    return layers.draw(infos, found.edges, found.means, theme)


def _ceiling(session: Session, run_id: str, theme: str) -> go.Figure:
    try:
        law = ceiling_of(session, run_id).law
    except UnknownSeries as error:
        raise UnknownFigure(str(error)) from None
    return ceiling.draw(law, theme)


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
    if name.startswith(layers.PREFIX):
        return _layers(session, run_id, name, rows, theme)
    if name == ceiling.NAME:
        return _ceiling(session, run_id, theme)
    infos = {key: info_of(row) for key, row in rows.items()}
    panel = registry.find(name) or statistic.panel_of(name) or vectors.panel_of(name)
    if name == series.SERIES.name:
        panel = series.SERIES
        if not 1 <= len(keys) <= MOST_KEYS:
            raise Invalid(f"The figure `series` needs ?key=, once to {MOST_KEYS} times.", field="key")
        chosen = [infos[row.key] for row in find_all(session, run_id, list(dict.fromkeys(keys)))]
    else:
        chosen = list(panel.chosen(list(infos.values()))) if panel else []
    if panel is None or not chosen:
        raise UnknownFigure(
            f"This run has no figure {name!r}; GET /api/v1/runs/{run_id}/figures lists those it has."
        )
    wanted = [rows[info.key] for info in chosen]
    numbers = [row for row in wanted if row.axis is None]
    found = shown(session, run_id, numbers, 0 if panel.whole else POINTS)
    maps = entry_maps(session, run_id, wanted)
    found |= {number: Overview(line, len(line), 0) for number, (line, _) in maps.items()}
    data = {row.key: found[row.series_id] for row in wanted}
    entries = {row.key: maps[row.series_id][1] for row in wanted if row.series_id in maps}
    alerts = [alert for alert in _evaluated(session, run_id) if alert["series"] in data]
    said = alerts_json(session, run_id, rules)
    changes = [change for change in said["transitions"] if change["series"] in data]
    figure = panel.draw(
        Scene(
            run=run_id,
            theme=theme,
            curves=tuple(
                replace(_curve(info, data[info.key], panel), entries=entries.get(info.key)) for info in chosen
            ),
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


def _curve(info: SeriesInfo, found: Overview, panel: registry.Panel) -> Curve:
    data, points = found.columns, 0 if panel.whole else POINTS
    return curve(info, data.steps, data.values, data.attempts, points, found.means)


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
        axis=row.axis,
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
    return tuple(
        (one.attempt, one.first_step)
        for one in list_attempts(session, run_id)
        if one.attempt > 1 and one.first_step is not None
    )
