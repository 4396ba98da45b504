"""The figure of a statistic that is a vector (per head, per expert, per bin): entries by steps, and beside it the latest reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from foreshock_server.figures import marks
from foreshock_server.figures.registry import Panel
from foreshock_server.figures.scene import Curve, EntryMap, Scene, SeriesInfo, merged
from foreshock_server.figures.style import COLORBAR, colours, empty, named_rows, unit_note
from foreshock_server.reference.endpoint import reference

PREFIX = "entries."
ORDER = 55  # before the plain figures of numbers
MOST_ROWS = 512
PROFILE = 0.8  # of the width is the map's, the rest the bars'


def panel_of(name: str, entry: str = "entry") -> Panel | None:
    """The figure `entries.<statistic>`, of any statistic; it is drawn from vectors alone. `entry`: what one is called."""
    if not name.startswith(PREFIX):
        return None
    statistic = name.removeprefix(PREFIX)

    def choose(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
        found: list[SeriesInfo] = []
        rows = 0
        for info in series:
            if info.axis is None or info.statistic != statistic or info.labels.get("rank", "all") != "all":
                continue
            rows += int(info.axis["size"])
            if not found or rows <= MOST_ROWS:
                found.append(info)
        return found

    told = reference()["statistics"].get(statistic)
    title = told["title"] if told else statistic
    about = f"Healthy: {told['healthy']}. Collapsed: {told['collapsed']}." if told else "As it was logged."
    family = told["family"] if told else "training"
    return Panel(
        name,
        f"{title}, by {entry}",
        family,
        ORDER,
        about,
        choose,
        draw,
        height=_height,
        wide=True,
        vectors=True,
        reads=frozenset({statistic}),
    )


def of_vectors(series: Sequence[SeriesInfo]) -> list[Panel]:
    """One for each statistic that has vectors, in the order in which they appeared."""
    names = {info.statistic: str(info.axis["name"]) for info in series if info.axis is not None}
    found = (panel_of(PREFIX + statistic, entry) for statistic, entry in names.items())
    return [panel for panel in found if panel is not None]


def draw(scene: Scene) -> go.Figure:
    """A row per entry, the first on top; the bars are the latest reading, on the rows that they belong to. A vector without a
    reading takes no rows beside others that have some."""
    c = colours(scene.theme)
    figure = empty(scene.theme)
    drawn = [(curve, curve.entries) for curve in scene.curves if curve.entries is not None]
    alone = len(drawn) == 1
    drawn = [pair for pair in drawn if pair[1].last_step is not None] or drawn
    names = [name for curve, one in drawn for name in _names(curve, one, alone=alone)]
    where = np.arange(len(names))
    colour_of = {"coloraxis": "coloraxis"}
    first = 0
    for curve, one in drawn:
        rows = where[first : first + len(one.names)]
        first += len(one.names)
        figure.add_trace(
            go.Heatmap(
                x=(one.edges[:-1] + one.edges[1:]) / 2, y=rows, z=one.means.astype(np.float32), name=curve.info.key,
                customdata=_told(one), hoverongaps=False,
                hovertemplate=f"{curve.info.key}<br>{one.axis} %{{customdata}}, step %{{x:.0f}}: %{{z:.4~g}}<extra></extra>",
                **colour_of,
            )
        )  # fmt: skip
        figure.add_trace(
            go.Bar(
                x=np.where(np.isfinite(one.last), one.last, np.nan), y=rows, orientation="h", xaxis="x2",
                marker={"color": c.accent}, showlegend=False, customdata=[names[row] for row in rows],
                name=f"{curve.info.key} at step {one.last_step}",
                hovertemplate="%{customdata}: %{x:.4~g}" + f"<extra>step {one.last_step}</extra>",
            )
        )  # fmt: skip
    figure.update_layout(
        hovermode="closest",
        bargap=0.15,
        margin={"l": 8, "t": 22, "r": 8},
        coloraxis={
            "colorscale": "Cividis",
            "colorbar": COLORBAR,
        },
        xaxis={"domain": [0, PROFILE]},
        xaxis2={"domain": [PROFILE + 0.02, 1], "nticks": 3, "anchor": "y", "showgrid": True},
    )
    named_rows(figure, names)
    units = list(dict.fromkeys(curve.info.unit for curve, _ in drawn if curve.info.unit))
    if units:
        figure.add_annotation(unit_note(" / ".join(units), side="right"))
    for interval in merged(scene.intervals)[-marks.MOST_INTERVALS :]:
        figure.add_vline(
            x=interval.fired,
            line={"color": c.severity(interval.severity), "width": 1.5},
            name=f"fired {interval.rule}",
        )
    return figure


def _names(curve: Curve, one: EntryMap, *, alone: bool) -> list[str]:
    """What each row is called: the entry, and the place where there are several."""
    before = "" if alone else f"{curve.info.short() or curve.info.statistic} "
    return [f"{before}{one.axis} {name}" for name in one.names]


def _told(one: EntryMap) -> Any:
    """Of each cell its entry: numbers, where they are all there is, for a word in each cell is most of a large figure."""
    shape = one.means.shape
    if one.names == tuple(map(str, range(shape[0]))):
        return np.broadcast_to(np.arange(shape[0], dtype=np.int16)[:, None], shape).copy()
    return [[name] * shape[1] for name in one.names]


def _height(series: int) -> int:
    return 90 + 12 * min(48, max(16, 8 * series))
