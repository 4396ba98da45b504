"""One statistic at all its places -> a map of layers by steps, from the store's means: a whole model at one look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from foreshock_server.figures.scene import SeriesInfo
from foreshock_server.figures.style import COLORBAR, empty, named_rows, unit_note

PREFIX = "layers."
ORDER = 58  # behind the maps of vectors, before the plain lines
FEWEST = 13  # places from which on lines hide each other
MOST_ROWS = 5_000
COLUMNS = 240


def statistics(series: Sequence[SeriesInfo]) -> dict[str, list[SeriesInfo]]:
    """The series of numbers by statistic, of those that are read at many places."""
    found: dict[str, list[SeriesInfo]] = {}
    for info in series:
        if info.axis is None and info.place and info.labels.get("rank", "all") == "all":
            found.setdefault(info.statistic, []).append(info)
    return {name: some[:MOST_ROWS] for name, some in found.items() if len(some) >= FEWEST}


def draw(
    infos: Sequence[SeriesInfo], edges: NDArray[np.int64], means: NDArray[np.float64], theme: str
) -> go.Figure:
    """A row per place, the first on top; means [places, cells]."""
    figure = empty(theme)
    names, rows = [info.short() for info in infos], np.arange(len(infos))
    figure.add_trace(
        go.Heatmap(
            x=edges.astype(np.float64), y=rows, z=means.astype(np.float32), hoverongaps=False,
            name=infos[0].statistic, colorscale="Cividis",
            colorbar=COLORBAR,
            hovertemplate="row %{y}, step %{x:.0f}: %{z:.4~g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(hovermode="closest", margin={"l": 8, "t": 22, "r": 8}, height=height(len(infos)))
    named_rows(figure, names)
    if infos[0].unit:
        figure.add_annotation(unit_note(infos[0].unit))
    return figure


def height(places: int) -> int:
    """Pixels."""
    return 90 + 12 * min(48, max(16, places))
