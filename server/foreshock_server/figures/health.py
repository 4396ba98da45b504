"""Figures of the families optimiser, numerics and monitor: is the machinery sound, ours included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from foreshock_server.figures import marks
from foreshock_server.figures.curves import POINTS
from foreshock_server.figures.policy import right_axis
from foreshock_server.figures.registry import Choose, Panel, panel
from foreshock_server.figures.scene import Curve, Scene, SeriesInfo
from foreshock_server.figures.style import DASHES, STEP, colours, empty, unit_note
from foreshock_server.query.downsample import thin

_NORMS = ("gradient_norm", "weight_norm", "update_ratio")
PLACES = 4


def _whole_model_first(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    """The series of the whole model; where there is none, those of the first places."""
    chosen: list[SeriesInfo] = []
    for statistic in _NORMS:
        of_one = [info for info in series if info.statistic == statistic]
        whole = [info for info in of_one if not info.place]
        chosen += whole or of_one[:PLACES]
    return chosen


@panel(
    "optimiser", "Gradients, weights, updates", "optimiser", 10,
    "Norms on a logarithmic scale. A healthy update is about a thousandth of the weights.",
    needs=_NORMS, choose=_whole_model_first,
)  # fmt: skip
def optimiser(scene: Scene) -> go.Figure:
    """Gradient norm and weight norm on the left, update over weight on the right, all logarithmic."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="norm")
    right = scene.of("update_ratio") if scene.of("gradient_norm", "weight_norm") else []
    for number, (statistic, label) in enumerate(
        zip(_NORMS, ("gradient", "weight", "update / weight"), strict=True)
    ):
        for dash, curve in zip(DASHES, scene.of(statistic), strict=False):
            name = f"{label} {curve.info.short()}".strip()
            axis: dict[str, Any] = {"yaxis": "y2"} if curve in right else {}
            marks.line(
                figure,
                curve.positive(),
                name,
                colour=c.series[number],
                dash=dash if len(scene.of(statistic)) > 1 else DASHES[number],
                **axis,
            )
    figure.update_yaxes(type="log", exponentformat="power", nticks=5)
    if right:
        right_axis(figure, scene, "ratio", c.series[2])
        figure.update_layout(
            yaxis2={"type": "log", "exponentformat": "power", "rangemode": "normal", "nticks": 5}
        )
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure


def _counts_and_odd(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    return [info for info in series if info.statistic == "nonfinite_count" or info.nonfinite > 0]


@panel(
    "numerics", "Values that are no numbers", "numerics", 10,
    "NaN and infinite values by step; a cross wherever a recorded statistic itself was NaN.",
    needs=("nonfinite_count",), choose=_counts_and_odd, everything=True,
)  # fmt: skip
def numerics(scene: Scene) -> go.Figure:
    """Non-finite values summed over places, a line per kind of tensor; the worst place in the hover."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="values")
    kinds = sorted({curve.info.labels.get("tensor", "all") for curve in scene.of("nonfinite_count")})
    for number, kind in enumerate(kinds):
        curves = [
            curve for curve in scene.of("nonfinite_count") if curve.info.labels.get("tensor", "all") == kind
        ]
        steps, sums, where = _sum(curves)
        figure.add_trace(
            go.Scatter(
                x=steps, y=sums, name=kind, mode="lines", customdata=where,
                line={"color": c.series[number % len(c.series)], "dash": DASHES[number % len(DASHES)], "width": 2, "shape": "hv"},
                hovertemplate="%{y:,.0f} %{customdata}",
            )
        )  # fmt: skip
    figure.update_yaxes(rangemode="tozero", autorangeoptions_include=[0, 4])
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure


def _sum(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Steps, the sum over the curves at each, and the name of the largest where the sum is not zero; the sums' extremes stay."""
    steps = np.unique(np.concatenate([curve.finite[0] for curve in curves]))
    table = np.zeros((len(curves), len(steps)))
    for row, curve in enumerate(curves):
        at, values = curve.finite
        table[row, np.searchsorted(steps, at)] = values
    sums = table.sum(axis=0)
    keep = thin(steps, sums, np.ones(len(steps), np.int32), POINTS)
    places = [curve.info.place or curve.info.key for curve in curves]
    where = [f"in {places[table[:, i].argmax()]}" if sums[i] > 0 else "" for i in keep]
    return steps[keep], sums[keep], where


@panel(
    "monitor", "What watching costs", "monitor", 10,
    "Our own time on the training thread, in percent of the step, and readings lost.",
    needs=("foreshock_overhead", "foreshock_dropped"),
)  # fmt: skip
def monitor(scene: Scene) -> go.Figure:
    """Overhead on the left, lost readings on the right."""
    c = colours(scene.theme)
    figure = empty(scene.theme, unit="%")
    for curve in scene.of("foreshock_overhead"):
        marks.line(figure, curve, f"overhead {curve.info.short()}".strip(), colour=c.series[0])
    for curve in scene.of("foreshock_dropped"):
        marks.line(
            figure, curve, f"lost {curve.info.short()}".strip(), colour=c.series[1], dash="dash", yaxis="y2"
        )
    figure.update_yaxes(rangemode="tozero")
    if scene.of("foreshock_dropped"):
        right_axis(figure, scene, "lost", c.series[1])
        figure.update_layout(yaxis2={"autorangeoptions": {"include": [0, 4]}})
    marks.alerts(figure, scene)
    marks.odd(figure, scene)
    return figure


MOST_ROWS = 12  # of one figure
FURTHER = "training."  # training.2 has the next twelve, and so on


def _logged(number: int) -> Choose:
    def choose(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
        logged = [info for info in series if info.family == "training"]
        return logged[MOST_ROWS * (number - 1) : MOST_ROWS * number]

    return choose


def _rows(series: int) -> int:
    return 60 + 120 * max(series, 1)


@panel(
    "training", "Logged numbers", "training", 10,
    "What the training script logged itself, one row each.",
    choose=_logged(1), height=_rows,
)  # fmt: skip
def training(scene: Scene) -> go.Figure:
    """A row per logged number, one step axis for all."""
    c = colours(scene.theme)
    rows = len(scene.curves)
    figure = make_subplots(rows=max(rows, 1), cols=1, shared_xaxes=True, vertical_spacing=0.32 / max(rows, 2))
    styled = empty(scene.theme)
    figure.layout.template = styled.layout.template
    figure.update_layout(
        margin=styled.layout.margin, hovermode="x unified", hoversubplots="axis", showlegend=False
    )
    for number, curve in enumerate(scene.curves, start=1):
        axis = "y" if number == 1 else f"y{number}"
        marks.line(
            figure,
            curve,
            curve.info.key,
            colour=c.series[(number - 1) % len(c.series)],
            width=1.75,
            xaxis=f"x{axis[1:]}",
            yaxis=axis,
        )
        top = figure.layout[f"yaxis{axis[1:]}"].domain[1]
        figure.add_annotation(
            {
                **unit_note(f"{curve.info.key}{' · ' + curve.info.unit if curve.info.unit else ''}", y=top),
                "xshift": 0,
            }
        )
        marks.odd(figure, scene, [curve], row=number)
        _, values = curve.finite
        if len(values) and values.min() == values.max() != 0:  # a constant's own range would be ±1 around it
            figure.update_layout({f"yaxis{axis[1:]}": {"range": sorted([0.0, 2 * float(values[0])])}})
    figure.update_yaxes(nticks=4)
    figure.update_xaxes(tickprefix=STEP, showtickprefix="first")
    marks.alerts(figure, scene)
    return figure


def further_of(name: str) -> Panel | None:
    """The figure `training.<number>`, from 2 on: what one figure has no room for."""
    number = name.removeprefix(FURTHER)
    if (
        not name.startswith(FURTHER)
        or not number.isascii()
        or not number.isdecimal()
        or not 2 <= int(number) <= 9_999
    ):
        return None
    about = "What the training script logged itself, one row each."
    return Panel(
        name, f"Logged numbers, {number}", "training", 10 + int(number), about, _logged(int(number)), training, height=_rows
    )  # fmt: skip


def further(series: Sequence[SeriesInfo]) -> list[Panel]:
    """Those figures that this run's logged numbers fill."""
    logged = sum(info.family == "training" and info.axis is None for info in series)
    found = (further_of(f"{FURTHER}{number}") for number in range(2, -(-logged // MOST_ROWS) + 1))
    return [one for one in found if one is not None]
