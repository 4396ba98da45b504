"""The figure of any statistic that has none of its own: a line per place, and what healthy and collapsed look like from the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from foreshock_server.figures import marks
from foreshock_server.figures.registry import Panel
from foreshock_server.figures.scene import Curve, Scene, SeriesInfo
from foreshock_server.figures.style import empty
from foreshock_server.reference.endpoint import reference

PREFIX = "statistic."
ORDER = 60  # behind the figures that somebody drew for a purpose
MOST_LINES = 6
START = 10  # readings whose median is a beginning, or an end
MOST_SERIES = 64  # of one figure; more are found in the list of series


def panel_of(name: str) -> Panel | None:
    """The figure `statistic.<name>`."""
    if not name.startswith(PREFIX):
        return None
    statistic = name.removeprefix(PREFIX)
    told = reference()["statistics"].get(statistic)
    if told is None:
        return None

    def choose(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
        own = [
            info for info in series if info.statistic == statistic and info.labels.get("rank", "all") == "all"
        ]
        return own[:MOST_SERIES]

    about = f"Healthy: {told['healthy']}. Collapsed: {told['collapsed']}."
    return Panel(
        name,
        told["title"],
        told["family"],
        ORDER,
        about,
        choose,
        draw,
        (statistic,),
        reads=frozenset({statistic}),
    )


def without_a_figure(series: Sequence[SeriesInfo], shown: set[str]) -> list[Panel]:
    """One for each statistic of the reference that this run has and no other figure shows, in the reference's order."""
    there = {info.statistic for info in series} - shown
    found = (panel_of(PREFIX + name) for name in reference()["statistics"] if name in there)
    return [panel for panel in found if panel is not None]


def draw(scene: Scene) -> go.Figure:
    """A line per series; of more than six, those that moved most since their start."""
    units = list(dict.fromkeys(curve.info.unit for curve in scene.curves if curve.info.unit))
    figure = empty(scene.theme, unit=" / ".join(units))
    curves = (
        sorted(scene.curves, key=_moved, reverse=True)
        if len(scene.curves) > MOST_LINES
        else list(scene.curves)
    )
    marks.lines(figure, scene, curves[:MOST_LINES])
    marks.alerts(figure, scene, level_of=curves[0] if len(curves) == 1 else None)
    marks.odd(figure, scene)
    return figure


def _moved(curve: Curve) -> float:
    """How far the last readings are from the first, against the size of both."""
    _, values = curve.finite
    if not len(values):
        return 0.0
    first, last = float(np.median(values[:START])), float(np.median(values[-START:]))
    return abs(last - first) / max(abs(first), abs(last), 1e-30)
