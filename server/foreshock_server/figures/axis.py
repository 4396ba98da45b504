"""A figure over steps -> the same over time or tokens, cut to the steps that were asked for, with the marks that every axis has. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from foreshock_server.figures.style import STEP, colours

X = Literal["step", "time", "tokens"]
TABLE = 200  # pairs of step and place that travel with a figure that is not over steps
MARKS_AXIS = "y200"  # of its own, so that the data's scale can move beneath the marks
_IN_STEPS = "step %{x:.0f}"  # in hover texts


@dataclass(frozen=True)
class Look:
    """What a reader asked of the axis: what it counts, and which steps of it (ends included; None: to the end)."""

    x: X = "step"
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Ruler:
    """Where each step lies on an axis that counts something else: between the known places as the crow flies."""

    suffix: str  # behind each number of the axis
    steps: NDArray[np.float64]  # [K], ascending, at least one
    at: NDArray[np.float64]  # [K], never falling

    def places(self, steps: Any) -> NDArray[np.float64]:
        """Of these steps; beyond the last one at the pace of the whole, for a forecast ends in the future."""
        asked = np.asarray(steps, np.float64)
        found = np.interp(asked, self.steps, self.at)
        ahead = asked > self.steps[-1]
        length = self.steps[-1] - self.steps[0]
        pace = (self.at[-1] - self.at[0]) / length if length > 0 else 0.0
        return np.asarray(np.where(ahead, self.at[-1] + (asked - self.steps[-1]) * pace, found))

    def table(self) -> dict[str, list[float]]:
        """A few pairs, from which a page finds the step that somebody points at."""
        some = np.unique(np.linspace(0, len(self.steps) - 1, min(TABLE, len(self.steps))).astype(np.intp))
        return {"steps": self.steps[some].tolist(), "at": self.at[some].tolist()}


@dataclass(frozen=True)
class Event:
    """Something that happened at a step and is marked on every axis."""

    step: int
    kind: Literal["attempt", "checkpoint", "action"]
    text: str


def axes_of(figure: go.Figure) -> list[str]:
    """The layout's axes that count steps."""
    named = (name for name in figure.layout.to_plotly_json() if name.startswith("xaxis"))
    return [name for name in named if figure.layout[name].tickprefix == STEP]


def finish(
    figure: go.Figure,
    look: Look,
    ruler: Ruler | None,
    events: Sequence[Event],
    theme: str,
    *,
    thinned: bool,
    keys: Sequence[str],
) -> None:
    """Marks, range and scale; `layout.meta` tells a page which axes they are, which series are drawn, and whether a shorter range
    would show more."""
    axes = axes_of(figure)
    if axes:
        _mark(figure, events, theme)
    if ruler is not None:
        _recast(figure, axes, ruler)
    if look.first is not None or look.last is not None:
        ends = [
            None if one is None else one if ruler is None else float(ruler.places(one))
            for one in (look.first, look.last)
        ]
        figure.update_layout({name: {"range": ends} for name in axes})
    figure.update_layout(
        meta={
            "axes": axes,
            "x": look.x,
            "thinned": thinned,
            "keys": list(keys),
            "ruler": None if ruler is None else ruler.table(),
        }
    )


def _mark(figure: go.Figure, events: Sequence[Event], theme: str) -> None:
    c = colours(theme)
    for event in events:
        if event.kind == "attempt":
            figure.add_shape(
                type="line", x0=event.step, x1=event.step, y0=0, y1=1, yref="paper", layer="below", name=event.text,
                line={"color": c.muted, "width": 1, "dash": "dot"},
                label={"text": event.text, "textposition": "end", "font": {"size": 10}},
            )  # fmt: skip
    maps = any(trace.type == "heatmap" for trace in figure.data)
    drawn = False
    for kind, symbol, colour in (("checkpoint", "triangle-up", c.accent), ("action", "diamond", c.series[3])):
        some = [event for event in events if event.kind == kind]
        if not some:
            continue
        drawn = True
        figure.add_trace(
            go.Scatter(
                x=np.array([event.step for event in some], np.int64), y=np.full(len(some), 0.02), yaxis=MARKS_AXIS,
                name=f"{kind} ×{len(some):,}", mode="markers", showlegend=not maps,
                marker={"symbol": symbol, "size": 8, "color": colour, "line": {"width": 1, "color": c.surface}},
                customdata=[event.text for event in some], hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
    if drawn:
        own = {"overlaying": "y", "anchor": "x", "range": [0, 1], "visible": False, "fixedrange": True}
        figure.update_layout({f"yaxis{MARKS_AXIS[1:]}": own})


def _recast(figure: go.Figure, axes: Sequence[str], ruler: Ruler) -> None:
    short = {f"x{name.removeprefix('xaxis')}" for name in axes}
    for trace in figure.data:
        if (trace.xaxis or "x") not in short or trace.x is None:
            continue
        trace.x = ruler.places(trace.x)
        if trace.hovertemplate and _IN_STEPS in trace.hovertemplate:
            trace.hovertemplate = trace.hovertemplate.replace(_IN_STEPS, f"%{{x:.4~g}}{ruler.suffix}")
    for shape in figure.layout.shapes:
        if (shape.xref or "x") in short:
            shape.x0, shape.x1 = (float(place) for place in ruler.places([shape.x0, shape.x1]))
    for note in figure.layout.annotations:
        if note.x is not None and (note.xref or "x") in short:
            note.x = float(ruler.places(note.x))
    own = {"tickprefix": "", "ticksuffix": ruler.suffix, "showticksuffix": "last", "hoverformat": ".4~g"}
    figure.update_layout(dict.fromkeys(axes, own))
