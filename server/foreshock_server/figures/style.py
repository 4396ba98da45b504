"""A theme's name -> colours, and an empty figure in them. The page's style.css uses the same values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

THEMES = ("light", "dark", "none")
STEP = "step "  # before the first tick of an axis that counts steps, and what tells such an axis

# Lines differ in dash as well as in colour, points in symbol: neither print nor eyes need to tell colours apart.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")

# Of maps:
COLORBAR: dict[str, Any] = {"thickness": 8, "len": 0.9, "tickfont": {"size": 10}, "outlinewidth": 0}
MOST_NAMES = 40  # beside the rows


@dataclass(frozen=True)
class Colours:
    """What a colour is for, not what it looks like."""

    ink: str
    muted: str
    grid: str
    surface: str
    accent: str
    warning: str
    critical: str
    series: tuple[
        str, ...
    ]  # after Okabe and Ito, darkened or lightened until it stands 3:1 against the surface

    def severity(self, name: str) -> str:
        """The colour of a threshold or an interval of this severity."""
        return self.critical if name == "critical" else self.warning


_LIGHT = Colours(
    ink="#1c2530",
    muted="#5a6675",
    grid="#e7eaee",
    surface="#ffffff",
    accent="#2459c5",
    warning="#925700",
    critical="#c2341d",
    series=("#2459c5", "#c4520a", "#00795f", "#a34a86", "#7a6400", "#2a86b8"),
)
_DARK = Colours(
    ink="#e4e9f0",
    muted="#97a3b3",
    grid="#272f3a",
    surface="#161b22",
    accent="#7aa7ff",
    warning="#e9ad3f",
    critical="#ff7d63",
    series=("#7aa7ff", "#ff9a52", "#3cc9a3", "#e08fc4", "#d8c04a", "#6cc6ec"),
)


def colours(theme: str) -> Colours:
    """The colours of a theme; `none` draws with the light ones and leaves paper, font and grid to the reader."""
    return _DARK if theme == "dark" else _LIGHT


def clear(colour: str, alpha: float) -> str:
    """The same colour, seen through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def empty(theme: str, *, unit: str = "", height: int | None = None) -> go.Figure:
    """A figure without traces: compact margins, one unified hover, the legend below, the unit above."""
    figure = go.Figure()
    figure.update_layout(
        margin={"l": 46, "r": 12, "t": 22, "b": 26},
        hovermode="x unified",
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": -0.13,  # just below the tick labels, at the height that panels have
            "yanchor": "top",
            "font": {"size": 11},
            "entrywidth": 0,
            "tracegroupgap": 0,
        },
        xaxis={"tickprefix": STEP, "showtickprefix": "first", "nticks": 7},
        yaxis={"nticks": 6},
        height=height,
    )
    figure.layout.template = go.layout.Template() if theme == "none" else _template(colours(theme))
    if unit:
        figure.add_annotation(unit_note(unit))
    return figure


def named_rows(figure: go.Figure, names: Sequence[str]) -> None:
    """Row 0 on top, with as many names beside the rows as can be read."""
    every = max(1, math.ceil(len(names) / MOST_NAMES))
    figure.update_yaxes(
        automargin=True,
        showgrid=False,
        autorange="reversed",
        tickvals=list(range(len(names)))[::every],
        ticktext=names[::every],
        tickfont={"size": 10},
    )


def unit_note(unit: str, *, side: str = "left", y: float = 1.0, colour: str | None = None) -> dict[str, Any]:
    """The unit above its axis, where it takes no width from the plot."""
    left = side == "left"
    return {
        "text": unit,
        "xref": "paper",
        "yref": "paper",
        "x": 0 if left else 1,
        "y": y,
        "xanchor": "left" if left else "right",
        "yanchor": "bottom",
        "yshift": 5,
        "xshift": -38 if left else 38,
        "showarrow": False,
        "name": "unit",
        "font": {"size": 11, **({"color": colour} if colour else {})},
    }


def _template(c: Colours) -> go.layout.Template:
    axis = {
        "gridcolor": c.grid,
        "zerolinecolor": c.grid,
        "linecolor": c.grid,
        "tickcolor": c.grid,
        "tickfont": {"size": 11, "color": c.muted},
        "title": {"font": {"size": 11, "color": c.muted}},
        "automargin": False,
    }
    return go.layout.Template(
        layout={
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {
                "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
                "size": 12,
                "color": c.ink,
            },
            "colorway": list(c.series),
            "xaxis": {**axis, "showgrid": False, "showline": True},
            "yaxis": {**axis, "exponentformat": "e", "minexponent": 4},
            "annotationdefaults": {"font": {"size": 11, "color": c.muted}},
            "hoverlabel": {"bgcolor": c.surface, "bordercolor": c.grid, "font": {"size": 12, "color": c.ink}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": c.muted, "activecolor": c.accent},
            "dragmode": "zoom",
        }
    )
