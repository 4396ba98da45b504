"""Figures of the family representation: how many directions the features use, place by place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from foreshock_server.figures import marks
from foreshock_server.figures.policy import right_axis
from foreshock_server.figures.registry import panel
from foreshock_server.figures.scene import Curve, Scene, SeriesInfo, merged
from foreshock_server.figures.style import COLORBAR, colours, empty

MOST_LINES = 6
COLUMNS = 240  # of the map; more than a phone shows, fewer than a screen has pixels
START = 10  # readings whose median is a place's own start


def _rank_series(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    """One series per place: the centred one where both exist, since it is the one that can page."""
    best: dict[tuple[str, str], SeriesInfo] = {}
    for info in series:
        if info.statistic != "effective_rank":
            continue
        at = (info.place, info.short("place", "centered"))
        if at not in best or info.labels.get("centered") == "true":
            best[at] = info
    return list(best.values())


@panel(
    "effective-rank", "Effective rank", "representation", 10,
    "How many directions the features use, by place; of many places, those that lost most.",
    needs=("effective_rank",), choose=_rank_series,
)  # fmt: skip
def effective_rank(scene: Scene) -> go.Figure:
    """A line per place; of more than six, those that stand lowest against their own start."""
    figure = empty(scene.theme, unit="directions")
    curves = (
        sorted(scene.of("effective_rank"), key=_share_left)
        if len(scene.curves) > MOST_LINES
        else scene.of("effective_rank")
    )
    marks.lines(figure, scene, curves[:MOST_LINES])
    figure.update_yaxes(rangemode="tozero")
    marks.alerts(figure, scene, level_of=_subject(scene, curves))
    marks.odd(figure, scene)
    return figure


def _many_places(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    found = _rank_series(series)
    return found if len(found) > MOST_LINES else []


@panel(
    "effective-rank-map", "Effective rank, places by steps", "representation", 30,
    "Each row is a place against its own start: dark is where directions were lost, and since when.",
    needs=("effective_rank",), choose=_many_places, wide=True, from_start=True, height=lambda series: 90 + 18 * min(max(series, 6), 40),
)  # fmt: skip
def effective_rank_map(scene: Scene) -> go.Figure:
    """Effective rank over its own start, place by step; a cell is the lowest of its steps."""
    figure = empty(scene.theme)
    curves = scene.of("effective_rank")
    edges, z = shares_of_start(curves, first=scene.first, last=scene.last)
    names = [curve.info.short("centered") or curve.info.key for curve in curves]
    figure.add_trace(
        go.Heatmap(
            x=(edges[:-1] + edges[1:]) / 2, y=names, z=z, zmin=0, zmax=1.2, colorscale="Cividis",
            colorbar={**COLORBAR, "tickformat": ".0%"},
            hovertemplate="%{y}, step %{x:.0f}: %{z:.0%} of its start<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(hovermode="closest", margin={"l": 8, "t": 12, "r": 4})
    figure.update_yaxes(
        automargin=True,
        showgrid=False,
        nticks=min(len(names), 40),
        autorange="reversed",
        tickfont={"size": 10},
    )
    for interval in merged(scene.intervals)[-marks.MOST_INTERVALS :]:
        colour = colours(scene.theme).severity(interval.severity)
        figure.add_vline(
            x=interval.fired, line={"color": colour, "width": 1.5}, name=f"fired {interval.rule}"
        )
    return figure


def shares_of_start(
    curves: Sequence[Curve], columns: int = COLUMNS, *, first: int | None = None, last: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column edges on the step axis, and each curve's lowest value in each column over the median of its first readings.

    `first` and `last` cut the columns to these steps; the start remains the run's.
    """
    finite = [curve.finite for curve in curves]
    starts = [float(np.median(values[:START])) if len(values) else 0.0 for _, values in finite]
    finite = [_between(steps, values, first, last) for steps, values in finite]
    low = min((steps[0] for steps, _ in finite if len(steps)), default=0)
    high = max((steps[-1] for steps, _ in finite if len(steps)), default=1)
    width = max(len(np.unique(np.concatenate([steps for steps, _ in finite]))) if finite else 1, 1)
    edges = np.linspace(low - 0.5, high + 0.5, min(columns, width) + 1)
    z = np.full((len(curves), len(edges) - 1), np.inf)
    for row, ((steps, values), start) in enumerate(zip(finite, starts, strict=True)):
        if start > 0:
            at = np.clip(np.searchsorted(edges, steps, side="right") - 1, 0, z.shape[1] - 1)
            np.minimum.at(z[row], at, values / start)
    z[np.isinf(z)] = np.nan
    return edges, z


def _between(
    steps: NDArray[np.int64], values: NDArray[np.float64], first: int | None, last: int | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    keep = np.ones(len(steps), np.bool_)
    if first is not None:
        keep &= steps >= first
    if last is not None:
        keep &= steps <= last
    return steps[keep], values[keep]


def _share_left(curve: Curve) -> float:
    _, values = curve.finite
    return (
        float(values[-1] / np.median(values[:START]))
        if len(values) and np.median(values[:START]) > 0
        else np.inf
    )


def _subject(scene: Scene, curves: Sequence[Curve]) -> Curve | None:
    """The curve whose limits are drawn: the only one, or the one whose rule fires; all limits at once would be a fence."""
    firing = {interval.key for interval in scene.intervals if interval.until is None}
    chosen = [curve for curve in curves[:MOST_LINES] if curve.info.key in firing]
    return chosen[0] if chosen else curves[0] if len(curves) == 1 else None


def _entropy_and_loss(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    """The entropy of each place that all ranks read, and the loss that rules compare it with."""
    entropies = [
        info
        for info in series
        if info.statistic == "matrix_entropy" and info.labels.get("rank", "all") == "all"
    ]
    losses = [info for info in series if info.statistic == "loss" and info.family == "training"]
    return [*entropies, *losses[:1]] if entropies else []


@panel(
    "matrix-entropy", "Matrix-based entropy beside the loss", "representation", 15,
    "Loss down and entropy up: the layer memorises. Both down: it compresses. Entropy down and loss up: it loses what it needs.",
    needs=("matrix_entropy",), choose=_entropy_and_loss,
)  # fmt: skip
def matrix_entropy(scene: Scene) -> go.Figure:
    """A line per place, of many those that stand lowest against their own start; the loss dotted, on a scale of its own."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="nats")
    curves = sorted(scene.of("matrix_entropy"), key=_share_left)[:MOST_LINES]
    marks.lines(figure, scene, curves)
    for curve in scene.of("loss"):
        marks.line(figure, curve, "loss", colour=c.muted, dash="dot", width=1.75, yaxis="y2")
        right_axis(figure, scene, "loss", c.muted)
        figure.update_layout(yaxis2={"rangemode": "normal"})
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure


_SPREAD = ("embedding_std", "mean_cosine")


@panel(
    "representation", "Spread of the embeddings", "representation", 20,
    "Deviation near 1, cosine near 0: directions in use. The opposite: all inputs look alike.",
    needs=_SPREAD, also=("alignment",),
)  # fmt: skip
def representation(scene: Scene) -> go.Figure:
    """Embedding standard deviation solid, mean cosine dashed, alignment dotted; a colour per place."""
    c = colours(scene.theme)
    figure = empty(scene.theme)
    places = list(dict.fromkeys(curve.info.short() for curve in scene.curves))[:MOST_LINES]
    for statistic, label, dash in (
        ("embedding_std", "std", "solid"),
        ("mean_cosine", "cosine", "dash"),
        ("alignment", "alignment", "dot"),
    ):
        for curve in scene.of(statistic):
            if curve.info.short() in places:
                colour = c.series[places.index(curve.info.short())]
                marks.line(
                    figure,
                    curve,
                    f"{label} {curve.info.short()}".strip(),
                    colour=colour,
                    dash=dash,
                    width=1.75,
                )
    marks.alerts(figure, scene, level_of=_subject(scene, scene.of("embedding_std")))
    marks.odd(figure, scene)
    return figure
