"""A message about an alert, in the database -> the picture that goes with it: what was known when it was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.figures.curves import curve
from foreshock_server.figures.listing import info_of
from foreshock_server.figures.scene import Curve, Scene, forecasts, intervals, limits
from foreshock_server.models import Series, Transition
from foreshock_server.query.vectors import course, ticks
from foreshock_server.store.outbox import Parcel
from foreshock_server.store.overview import shown

POINTS = 500  # of the curve: about one for each pixel
BEFORE = 3.0  # times as much as the trouble had lasted is shown before it …
LEAST = 250  # … and so many readings in any case
MOST_ENTRIES = 32  # of a vector behind the one that it is about
MOST_NUMBERS = 1_000_000  # of a vector that are read


def picture_of(session: Session, parcel: Parcel) -> bytes | None:
    """The PNG; None when the message is about no series that is there. ModuleNotFoundError without Pillow."""
    from foreshock_server.figures.picture import Caption, draw

    run, series, transition = parcel.run, parcel.series, parcel.transition
    if run is None or series is None or transition is None:
        return None
    changes = _changes(session, transition)
    fired = next((one for one in changes if one.kind == "fired"), transition)
    since = fired.step if fired.since_step is None else fired.since_step
    still = parcel.delivery.kind == "repeated"  # a reminder shows how it went on
    last = max(transition.step, run.last_step or 0) if still else transition.step
    main, others = _curves(session, run.id, series, transition, (_first(series, since, last), last))
    over = transition.step if transition.kind == "resolved" else None
    alert = {
        **transition.detail,
        "rule": transition.rule,
        "series": series.key,
        "state": "firing" if over is None else "ok",
        "severity": transition.severity,
        "step": transition.step,
    }
    scene = Scene(
        run=run.id,
        curves=(main,),
        intervals=intervals([alert], [_change(one, series.key) for one in changes]),
        limits=limits([alert]),
        forecasts=() if still else forecasts([alert]),
        last_step=last,
    )
    entry = transition.detail.get("entry")
    words = [main.info.statistic, main.info.short(), entry if isinstance(entry, str) else "", main.info.unit]
    caption = Caption(
        title=str(transition.detail.get("title") or transition.rule),
        about=" · ".join(filter(None, words)),
        severity=transition.severity,
        fired=fired.step,
        resolved=over,
    )
    return draw(scene, caption, others)


def _first(series: Series, since: int, last: int) -> int | None:
    """From which step on it is shown; None: from the beginning, where that is not much more."""
    begin = series.first_step or 0
    size = 1 if series.axis is None else int(series.axis["size"])
    between = max(1, series.points // size - 1)
    stride = max(1, round(((series.last_step or last) - begin) / between))
    before = max(round(BEFORE * (last - since)), LEAST * stride)
    if series.axis is not None:
        before = min(before, MOST_NUMBERS // size * stride)
        return since - before
    return None if since - begin <= 2 * before else since - before


def _curves(
    session: Session, run_id: str, series: Series, transition: Transition, steps: tuple[int | None, int]
) -> tuple[Curve, list[Curve]]:
    """The line that the rule saw; of a vector the entry that it names, and others behind it."""
    info = info_of(series)
    found = shown(session, run_id, [series], POINTS, *steps)[series.series_id]
    data = found.columns
    if series.axis is None:
        return curve(info, data.steps, data.values, data.attempts, POINTS, found.means), []
    values = data.values if data.values.ndim == 2 else np.empty((0, int(series.axis["size"])))
    own = _place(series.axis, transition.detail.get("entry"))
    others = [place for place in range(values.shape[1]) if place != own][:MOST_ENTRIES]

    def line(column: NDArray[np.float64]) -> Curve:
        return curve(info, data.steps, column, data.attempts, POINTS)

    return line(course(values) if own is None else values[:, own]), [line(values[:, one]) for one in others]


def _place(axis: Mapping[str, Any], entry: object) -> int | None:
    """Which entry is called so in messages (rules/columns.py); None: none, or all together."""
    named = [
        f"{axis['name']} {one:g}" if isinstance(one, float) else f"{axis['name']} {one}"
        for one in ticks(axis)
    ]
    return named.index(entry) if entry in named else None


def _changes(session: Session, transition: Transition) -> list[Transition]:
    """What was said of this episode up to this."""
    query = select(Transition).where(
        Transition.run_id == transition.run_id,
        Transition.rule == transition.rule,
        Transition.series_id == transition.series_id,
        Transition.episode == transition.episode,
        Transition.step <= transition.step,
    )
    order = {"fired": 0, "escalated": 1, "resolved": 2}
    return sorted(session.scalars(query), key=lambda one: (one.step, order.get(one.kind, 1)))


def _change(one: Transition, key: str) -> dict[str, Any]:
    return {
        "rule": one.rule,
        "series": key,
        "episode": one.episode,
        "kind": one.kind,
        "severity": one.severity,
        "step": one.step,
        "since_step": one.since_step,
    }
