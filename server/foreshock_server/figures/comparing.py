"""Curves of several runs on one axis -> one figure: over each other or side by side, with means, ranges and what healthy runs did. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from foreshock_server.figures import marks
from foreshock_server.figures.aligned import Align, Member, Spread, course, level_at, spread
from foreshock_server.figures.style import DASHES, SYMBOLS, clear, colours, empty

OVERLAID = 340  # pixels
ROW = 210  # of one row of small plots
ABOVE = 44


@dataclass(frozen=True)
class Bunch:
    """Runs that are drawn in one colour: one run, or all that differ in their seed alone."""

    name: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Comparison:
    """What is compared, and with which healthy runs."""

    bunches: tuple[Bunch, ...]
    healthy: tuple[Member, ...] = ()
    unit: str = ""
    align: Align = "step"
    theme: str = "light"


def height(plots: int, columns: int) -> int:
    """Pixels of the figure; columns 0: all in one plot."""
    return OVERLAID if columns == 0 else ABOVE + ROW * max(1, math.ceil(plots / columns))


def draw(comparison: Comparison, columns: int = 0) -> go.Figure:
    """All in one plot, or with `columns` a plot for each bunch, on the same scales."""
    plots = len(comparison.bunches)
    figure = empty(comparison.theme, unit=comparison.unit, height=height(plots, columns))
    if columns:
        figure = _side_by_side(figure, comparison, columns)
    _axis(figure, comparison.align)
    band = spread(comparison.healthy, everywhere=False) if comparison.healthy else None
    for place, bunch in enumerate(comparison.bunches):
        where = _place(figure, place, columns)
        if band is not None and (columns or place == 0):
            _healthy(figure, comparison, band, where, first=place == 0)
        _bunch(figure, comparison, bunch, place, where, alone=bool(columns))
    if comparison.align == "alert":
        for place in range(plots if columns else min(plots, 1)):
            _zero(figure, comparison, _place(figure, place, columns))
    return figure


def _zero(figure: go.Figure, comparison: Comparison, where: dict[str, Any]) -> None:
    """Where the alerts are, when all of them stand in one place."""
    colour = colours(comparison.theme).critical
    figure.add_shape(
        type="line", x0=0, x1=0, y0=0, y1=1, xref=where.get("xaxis", "x"), yref=f"{where.get('yaxis', 'y')} domain", layer="below",
        line={"color": colour, "width": 1, "dash": "dash"}, name="alert",
        label={} if where else {"text": "alert", "textposition": "end", "textangle": 0, "xanchor": "left", "font": {"size": 10, "color": colour}},
    )  # fmt: skip


def _side_by_side(styled: go.Figure, comparison: Comparison, columns: int) -> go.Figure:
    plots = max(1, len(comparison.bunches))
    rows = math.ceil(plots / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.03,
        vertical_spacing=min(0.12, 34 / (ROW * rows)) * 1.2 if rows > 1 else 0,
        subplot_titles=[bunch.name for bunch in comparison.bunches],
    )
    figure.layout.template = styled.layout.template
    figure.update_layout(
        margin=styled.layout.margin,
        height=styled.layout.height,
        legend=styled.layout.legend,
        hovermode="x unified",
    )
    figure.update_layout(margin={"t": ABOVE - 8})
    figure.update_annotations(font={"size": 12})
    for note in styled.layout.annotations:  # the unit
        figure.add_annotation(note)
    figure.update_yaxes(nticks=5)
    for place in range(rows * columns):
        row, column = place // columns + 1, place % columns + 1
        if place >= plots:  # the last row may have gaps
            figure.update_xaxes(visible=False, row=row, col=column)
            figure.update_yaxes(visible=False, row=row, col=column)
        elif place + columns >= plots:
            figure.update_xaxes(showticklabels=True, row=row, col=column)
    return figure


def _place(figure: go.Figure, place: int, columns: int) -> dict[str, Any]:
    """The axes of the plot of this number, as traces name them."""
    number = str(place + 1) if columns and place else ""
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"} if columns else {}


def _axis(figure: go.Figure, align: Align) -> None:
    told: dict[Align, dict[str, Any]] = {
        "step": {"tickprefix": "step ", "showtickprefix": "first"},
        "time": {"tickprefix": "", "ticksuffix": " h", "showticksuffix": "all"},
        "alert": {"tickprefix": "", "ticksuffix": " steps", "showticksuffix": "last"},
    }
    figure.update_xaxes(nticks=7, **told[align])


def _healthy(
    figure: go.Figure, comparison: Comparison, band: Spread, where: dict[str, Any], *, first: bool
) -> None:
    runs = len(comparison.healthy)
    _area(
        figure, band, clear(colours(comparison.theme).muted, 0.2),
        name=f"{runs} healthy {'run' if runs == 1 else 'runs'}, least to greatest", legendgroup="healthy", showlegend=first, **where,
    )  # fmt: skip


def _bunch(
    figure: go.Figure,
    comparison: Comparison,
    bunch: Bunch,
    place: int,
    where: dict[str, Any],
    *,
    alone: bool,
) -> None:
    palette = colours(comparison.theme).series
    colour, dash = palette[place % len(palette)], DASHES[place // len(palette) % len(DASHES)]
    if len(palette) >= len(comparison.bunches) > 1:
        dash = DASHES[place % len(DASHES)]
    both = spread(bunch.members) if len(bunch.members) > 1 else None
    if both is None:
        for number, one in enumerate(bunch.members):
            own = DASHES[number % len(DASHES)] if len(bunch.members) > 1 else dash
            name = bunch.name if len(bunch.members) == 1 else f"{bunch.name} · {one.name}"
            marks.line(figure, one.curve, name, colour=colour, dash=own, **where)
            if alone and len(bunch.members) == 1:  # its name stands above the plot
                figure.update_traces(showlegend=False, selector={"legendgroup": name})
    else:
        _area(
            figure, both, clear(colour, 0.16), name=f"{bunch.name}: range", legendgroup=bunch.name, showlegend=alone, **where
        )  # fmt: skip
        for one in bunch.members:
            own_x, own_y = course(one.curve)
            figure.add_trace(
                go.Scatter(
                    x=own_x, y=own_y, mode="lines", connectgaps=False, name=one.name,
                    line={"color": clear(colour, 0.35), "width": 1}, hoverinfo="skip", legendgroup=bunch.name, showlegend=False, **where,
                )
            )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=both.x, y=both.mean, mode="lines", name=f"{bunch.name}: mean of {len(bunch.members)}",
                line={"color": colour, "dash": dash, "width": 2.25}, hovertemplate=marks.hover(comparison.unit),
                legendgroup=bunch.name, **where,
            )
        )  # fmt: skip
    if comparison.align != "alert":
        _alerts(figure, bunch, place, colour, where)


def _area(figure: go.Figure, band: Spread, colour: str, **more: Any) -> None:
    figure.add_trace(
        go.Scatter(
            x=np.concatenate([band.x, band.x[::-1]]), y=np.concatenate([band.high, band.low[::-1]]), mode="lines",
            line={"width": 0}, fill="toself", fillcolor=colour, hoverinfo="skip", **more,
        )
    )  # fmt: skip


def _alerts(figure: go.Figure, bunch: Bunch, place: int, colour: str, where: dict[str, Any]) -> None:
    """A mark on each run's line where its alert fired."""
    told = [(one, one.alert) for one in bunch.members if one.alert is not None]
    heights = [level_at(one.curve, at) for one, at in told]
    if not any(math.isfinite(height) for height in heights):
        return
    figure.add_trace(
        go.Scatter(
            x=[at for _, at in told], y=heights, mode="markers", name=f"{bunch.name}: alert",
            marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 10, "color": colour, "line": {"width": 1.5, "color": "white"}},
            customdata=[one.name for one, _ in told], hovertemplate="alert of %{customdata}<extra></extra>",
            legendgroup=bunch.name, showlegend=False, **where,
        )
    )  # fmt: skip


def left_out(figure: go.Figure, told: Sequence[dict[str, str]]) -> None:
    """Say in `layout.meta` which runs are not drawn, and why."""
    figure.update_layout(meta={"left_out": list(told)})
