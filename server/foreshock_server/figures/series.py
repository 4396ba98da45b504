"""The figure of any stored series, so that nothing that was recorded is out of sight."""

from __future__ import annotations

import plotly.graph_objects as go

from foreshock_server.figures import marks, vectors
from foreshock_server.figures.registry import Panel
from foreshock_server.figures.scene import Scene
from foreshock_server.figures.style import colours, empty


def draw(scene: Scene) -> go.Figure:
    """The named series in one plot; the limits of the rules when it is a single one. Vectors by themselves are maps."""
    if scene.curves and all(curve.entries is not None for curve in scene.curves):
        return vectors.draw(scene)
    units = list(dict.fromkeys(curve.info.unit for curve in scene.curves if curve.info.unit))
    figure = empty(scene.theme, unit=" / ".join(units))
    if len(scene.curves) == 1:
        only = scene.curves[0]
        marks.line(figure, only, only.info.title or only.info.statistic, colour=colours(scene.theme).accent)
        marks.alerts(figure, scene, level_of=only)
    else:
        marks.lines(figure, scene, scene.curves)
        marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure


# Not registered: it needs ?key=, and stands for no series of its own.
SERIES = Panel("series", "Any series", "", 0, "Readings as they were recorded.", lambda _series: [], draw)
