"""A run in the database -> the list of its figures: which it has series for, in the order of trouble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from foreshock_server import models
from foreshock_server.figures import ceiling, health, layers, registry, rulers, series, statistic, vectors
from foreshock_server.figures.scene import SeriesInfo, worst
from foreshock_server.query.alerts import alerts as alerts_json
from foreshock_server.query.leads import last_of
from foreshock_server.rules.load import RuleSet
from foreshock_server.store.latest import Counted, counted
from foreshock_server.store.runs import get_run

TROUBLE = ("collapsing", "watch", "fine", "none")


def listed(session: Session, rules: RuleSet, run_id: str) -> dict[str, Any]:
    """The figures that the run has series for, and its families: those in trouble first, then those that were, then as usual.

    A statistic without a figure gets a plain one, and a series with an alert that no figure shows one of its own: nothing
    that was measured, and no alert, is out of sight.
    """
    get_run(session, run_id)
    rows = counted(session, run_id)
    known = [info_of(row) for row in rows]
    by_statistic = registry.Known(known)
    said = alerts_json(session, run_id, rules)
    fired = [change for change in said["transitions"] if change["kind"] == "fired"]
    figures: list[dict[str, Any]] = []
    shown: set[str] = set()
    drawn_already: set[str] = set()
    for panel in sorted(
        [*registry.panels(), ceiling.CEILING, *health.further(known)], key=registry.Panel.place
    ):
        chosen = by_statistic.chosen(panel)
        if chosen:
            if not panel.partial:
                drawn_already |= {info.statistic for info in chosen}
            keys = {info.key for info in chosen if info.family == panel.family}
            shown |= keys
            figures.append(_entry(panel, chosen, worst(said["alerts"], keys)))
    for panel in [*statistic.without_a_figure(known, drawn_already), *vectors.of_vectors(known)]:
        chosen = by_statistic.chosen(panel)
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
    return {
        "figures": sorted(figures, key=lambda figure: places[figure["family"]]),
        "families": order,
        "axes": rulers.axes(rows),
    }


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


def _last(panel: registry.Panel, chosen: Sequence[SeriesInfo]) -> Mapping[str, Any] | None:
    """The number beside the title: only where one series speaks for the figure."""
    for lead in panel.leads:
        of_it = [info for info in chosen if info.statistic == lead]
        if len(of_it) == 1 and of_it[0].last is not None:
            return {"key": of_it[0].key, "value": of_it[0].last, "unit": of_it[0].unit}
    return None


def info_of(row: models.Series | Counted) -> SeriesInfo:
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


def _trouble(family: Mapping[str, Any]) -> tuple[int, bool, tuple[int, str]]:
    return TROUBLE.index(family["state"]), not family["episodes"], registry.place_of(family["family"])
