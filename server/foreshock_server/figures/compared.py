"""Several runs in the database -> what can be compared of them, and the figure of one series of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.errors import Invalid, UnknownFigure, UnknownRun, UnknownSeries
from foreshock_server.figures import comparing
from foreshock_server.figures.aligned import Align, Member, Told, member
from foreshock_server.figures.curves import POINTS
from foreshock_server.figures.listing import info_of
from foreshock_server.models import Run, Series, Transition
from foreshock_server.query.comparison import Group, differences, groups
from foreshock_server.query.verdict import place_of
from foreshock_server.rules.load import RuleSet
from foreshock_server.store.listing import Wish, listed
from foreshock_server.store.overview import shown
from foreshock_server.store.runs import get_run, list_attempts
from foreshock_server.store.series import find_series

MOST_RUNS = 20  # of one comparison
MOST_HEALTHY = 20
MOST_SERIES = 2000  # listed
HEALTHY = "healthy"  # the tag of runs that others are compared with


@dataclass(frozen=True)
class Ask:
    """How a comparison is drawn."""

    runs: Sequence[str]
    key: str
    align: Align = "step"
    rule: str | None = None  # whose alert; None: the first that fired
    group: Literal["none", "seeds"] = "none"
    healthy: Sequence[str] = ()  # ids; "auto": see `healthy_of`
    columns: int = 0  # plots beside each other; 0: all in one
    theme: str = "light"


def runs_of(session: Session, ids: Sequence[str], project: str | None) -> list[Run]:
    """The runs in this order, each once; UnknownRun for one that is not there or not of the project."""
    wanted = list(dict.fromkeys(ids))
    if not 1 <= len(wanted) <= MOST_RUNS:
        raise Invalid(f"Compare 1 to {MOST_RUNS} runs at a time; name each as `run`.", field="run")
    found = [get_run(session, run_id) for run_id in wanted]
    if project is not None and any(run.project != project for run in found):
        raise UnknownRun
    return found


def names(runs: Sequence[Run]) -> list[str]:
    """What tells them apart: the name, with the beginning of the id where two have one name."""
    count = Counter(run.name for run in runs)
    return [
        run.id if not run.name else run.name if count[run.name] == 1 else f"{run.name} {run.id[:8]}"
        for run in runs
    ]


def overview(session: Session, runs: Sequence[Run], rules: RuleSet) -> dict[str, Any]:
    """What differs between their configurations, which are the same but for seeds, which series they have, which rules spoke."""
    told = names(runs)
    environments = [_environment(session, run.id) for run in runs]
    return {
        "names": dict(zip((run.id for run in runs), told, strict=True)),
        "groups": [
            {"label": _label(group, told), "runs": [runs[place].id for place in group.members]}
            for group in groups([run.config for run in runs])
        ],
        "config": _differences([run.config for run in runs]),
        "environment": _differences(environments),
        "series": _series(session, runs),
        "rules": _rules(session, runs, rules),
    }


def figure(session: Session, ask: Ask, project: str | None) -> go.Figure:
    """The series of this key, of all of these runs that have it."""
    runs = runs_of(session, ask.runs, project)
    told = names(runs)
    members: dict[int, Member] = {}
    missing: list[dict[str, str]] = []
    unit = ""
    for place, run in enumerate(runs):
        found, why = _member(session, run, told[place], ask)
        if found is None:
            missing.append({"run": run.id, "name": told[place], "why": why})
        else:
            members[place], unit = found, unit or found.curve.info.unit
    if not members and all(one["why"] == _NO_SERIES for one in missing):
        raise UnknownFigure(
            f"None of these runs has a series {ask.key!r}; GET /api/v1/compare lists those they have."
        )
    bunched = (
        groups([run.config for run in runs])
        if ask.group == "seeds"
        else [Group("", [place]) for place in range(len(runs))]
    )
    drawn = comparing.draw(
        comparing.Comparison(
            bunches=tuple(
                comparing.Bunch(_label(group, told), present)
                for group in bunched
                if (present := tuple(members[place] for place in group.members if place in members))
            ),
            healthy=tuple(_healthy(session, runs, ask, project)) if ask.align != "alert" else (),
            unit=unit,
            align=ask.align,
            theme=ask.theme,
        ),
        ask.columns,
    )
    comparing.left_out(drawn, missing)
    return drawn


_NO_SERIES = "it has no such series"


def _member(session: Session, run: Run, name: str, ask: Ask) -> tuple[Member | None, str]:
    try:
        row = find_series(session, run.id, ask.key)
    except UnknownSeries:
        return None, _NO_SERIES
    info = info_of(row)
    data = shown(session, run.id, [row], POINTS)[row.series_id]
    alert = _alert(session, run.id, ask.rule)
    found = member(run.id, name, run.created_at, info, data, ask.align, alert)
    return found, "no alert of it fired" if found is None else ""


def _alert(session: Session, run_id: str, rule: str | None) -> Told | None:
    query = select(Transition.step, Transition.at).where(
        Transition.run_id == run_id, Transition.kind == "fired"
    )
    if rule is not None:
        query = query.where(Transition.rule == rule)
    first = session.execute(query.order_by(Transition.at, Transition.step).limit(1)).first()
    return None if first is None else Told(*first)


def _healthy(session: Session, runs: Sequence[Run], ask: Ask, project: str | None) -> list[Member]:
    if not ask.healthy:
        return []
    if list(ask.healthy) == ["auto"]:
        chosen = healthy_of(session, runs)
    else:
        chosen = runs_of(session, ask.healthy, project)
    found = (_member(session, run, run.name, ask)[0] for run in chosen)
    return [one for one in found if one is not None]


def healthy_of(session: Session, runs: Sequence[Run]) -> list[Run]:
    """What these runs are measured by: the latest others of their projects that are tagged `healthy`, else those that ended well
    and with the verdict fine."""
    own = {run.id for run in runs}
    tagged: list[Run] = []
    fine: list[Run] = []
    for project in sorted({run.project for run in runs}):
        for wish, into in (
            (Wish(project, tags=(HEALTHY,), archived=None), tagged),
            (Wish(project, state="finished", verdict="fine", archived=None), fine),
        ):
            found = listed(session, wish, limit=MOST_HEALTHY + len(own), quiet_since=0.0)
            into += [run for run, _ in found if run.id not in own]
    return (tagged or fine)[:MOST_HEALTHY]


def _label(group: Group, told: Sequence[str]) -> str:
    return (
        group.label
        if group.label and len(group.members) > 1
        else ", ".join(told[place] for place in group.members[:2])
        + (f" and {len(group.members) - 2} more" if len(group.members) > 2 else "")
    )


def _differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    differ, same = differences(configs)
    return {"differ": [one._asdict() for one in differ], "same": same}


def _environment(session: Session, run_id: str) -> Mapping[str, Any]:
    attempts = list_attempts(session, run_id)
    return attempts[-1].info if attempts else {}


def _series(session: Session, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Those of most runs first, then in the page's order."""
    ids = [run.id for run in runs]
    count = func.count().label("runs")
    query = (
        select(Series.key, Series.statistic, Series.family, Series.unit, count)
        .where(Series.run_id.in_(ids))
        .group_by(Series.key, Series.statistic, Series.family, Series.unit)
        .order_by(count.desc(), Series.key)
        .limit(MOST_SERIES)
    )
    found = [dict(row._mapping) for row in session.execute(query)]
    return sorted(found, key=lambda one: (-one["runs"], place_of(one["family"])))


def _rules(session: Session, runs: Sequence[Run], rules: RuleSet) -> list[dict[str, Any]]:
    number = func.count(Transition.run_id.distinct())
    query = (
        select(Transition.rule, number)
        .where(Transition.run_id.in_([run.id for run in runs]), Transition.kind == "fired")
        .group_by(Transition.rule)
        .order_by(number.desc(), Transition.rule)
    )
    titles = {rule.id: rule.title for rule in rules.rules}
    return [
        {"rule": rule, "title": titles.get(rule, rule), "runs": count}
        for rule, count in session.execute(query)
    ]
